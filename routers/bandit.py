"""Sample one teacher and learn from its rewards: Thompson sampling (1933), or greedy by a moving average.

The probability of every choice is logged, so that any other router can be evaluated on the log
(`routers.bandit_log.off_policy`). A router never learns while it routes: rewards of earlier shards or runs come from
a file, and the same file gives the same routes.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from arbitrage.candidates.queries import NO_TASK
from arbitrage.config import AbsolutePath, Raw
from arbitrage.contracts.routers import PoolMember
from arbitrage.models.references import digest_files
from arbitrage.records import Prompt, Route, content_id
from routers.bandit_log.outcome_log import OUTCOME, read_outcomes
from routers.bandit_log.posterior import Belief, LoggedOutcome, Posterior, update
from routers.language_filter import LanguageFilter, LanguageFilterConfig

Shares = dict[str, float]


class BanditConfig(LanguageFilterConfig):
    """Sample one teacher, chosen by the rewards of earlier runs in the prompt's language and task.

    Attributes:
        rule: `thompson` chooses a teacher with the probability that it is the best; `ema` chooses the one
            whose moving average is highest, which follows teachers that change.
        outcomes: a Parquet file of earlier rewards (`arbitrage router log` writes it); without one, only the prior is
            used.
        prior: teacher → expected reward before any data.
        prior_mean: the same for teachers that `prior` does not name.
        prior_weight: weight of each prior, in rewards: of the prior on a teacher's mean, of that mean on its means by
            language, and of those on its means by task.
        noise: standard deviation of single rewards around their mean; that of calibrated rewards is about 1.
        decay: weight of the newest outcome in the moving average.
        floor: smallest probability of each eligible teacher; at most an equal share.
        num_draws: number of posterior draws with which `thompson` estimates each teacher's probability of being the
            best.
        seed: seed of draws and choices.
    """

    kind: Literal["bandit"] = "bandit"
    rule: Literal["thompson", "ema"] = "thompson"
    outcomes: AbsolutePath | None = None
    prior: dict[str, float] = {}
    prior_mean: float = 0.0
    prior_weight: float = Field(default=5.0, gt=0.0)
    noise: float = Field(default=1.0, gt=0.0)
    decay: float = Field(default=0.05, gt=0.0, le=1.0)
    floor: float = Field(default=0.02, ge=0.0, le=1.0)
    num_draws: int = Field(default=2000, ge=1)
    seed: int = 0

    def identity(self) -> Raw:
        """Name the outcomes by their content."""
        found = super().identity()
        return found if self.outcomes is None else found | {"outcomes": digest_files(Path(self.outcomes))}

    def build(self, pool: Sequence[PoolMember]) -> "BanditRouter":
        """Read the log; rewards of teachers that are not in the pool are ignored.

        Raises:
            ConfigError: `prior` names a teacher that is not in the pool.
            DataError: the outcomes cannot be read.
        """
        language_filter = LanguageFilter(self, pool)
        language_filter.require(sorted(self.prior), "router.prior")
        decay = self.decay if self.rule == "ema" else None
        blank = Posterior(self.noise, self.prior_weight, decay, self.prior, self.prior_mean)
        found = read_outcomes(Path(self.outcomes)) if self.outcomes else {name: [] for name in OUTCOME}
        rows = zip(*(found[name] for name in OUTCOME), strict=True)
        outcomes = (
            LoggedOutcome(language, task or NO_TASK, teacher, reward) for language, task, teacher, reward in rows
        )
        return BanditRouter(self, update(blank, outcomes), language_filter)


class BanditRouter:
    """Draws a teacher from the posterior, with at least the floor's probability for each."""

    def __init__(self, config: BanditConfig, posterior: Posterior, language_filter: LanguageFilter) -> None:
        self._config = config
        self._posterior = posterior
        self._filter = language_filter
        self._shares = lru_cache(maxsize=4096)(self._find_shares)

    def route(self, prompts: Sequence[Prompt]) -> list[Route | None]:
        """Return one route for each prompt, in order; None where no teacher is eligible."""
        return [self._one(prompt) for prompt in prompts]

    def shares(self, language: str, task: str = NO_TASK) -> Shares:
        """Return the probability of each eligible teacher, by name; empty where there is none."""
        return dict(self._shares(language, task))

    def _one(self, prompt: Prompt) -> Route | None:
        task = prompt.task or NO_TASK
        shares = self._shares(prompt.language, task)
        if not shares:
            return None
        drawn = self._draw(prompt.prompt_id, shares)
        expected = self._posterior.mean_of(drawn, prompt.language, task).mean
        return Route(
            prompt_id=prompt.prompt_id,
            router=f"bandit:{self._config.rule}",
            teachers=(drawn,),
            expected=(expected,),
            propensity=shares[drawn],
        )

    def _draw(self, prompt_id: str, shares: Shares) -> str:
        """Draw by weighted rendezvous hashing: the highest log(u)/share wins, with probability `share`."""

        def height(name: str) -> float:
            hashed = content_id("bandit", self._config.seed, prompt_id, name)
            return math.log((int(hashed[:13], 16) + 0.5) / 16**13) / shares[name]

        return max((name for name in shares if shares[name] > 0.0), key=height)

    def _find_shares(self, language: str, task: str) -> Shares:
        """Return shares that sum to 1.

        The posterior draws are seeded by language and task, not by the prompt: the share of wins among them
        *is* the policy, from which each prompt's id then draws. So the logged propensity is exact, however few the
        draws are; 2000 find a chance of one half to ±0.011.
        """
        names = self._filter.eligible(language)
        if not names:
            return {}
        posteriors = [self._posterior.mean_of(name, language, task) for name in names]
        best = self._wins(posteriors, content_id("posteriors", self._config.seed, language, task, *names))
        floor = min(self._config.floor, 1.0 / len(names))
        rest = 1.0 - floor * len(names)
        return {name: floor + rest * share for name, share in zip(names, best, strict=True)}

    def _wins(self, posteriors: Sequence[Belief], seed: str) -> list[float]:
        """Return how often each is the best, summing to 1."""
        means_T = np.array([belief.mean for belief in posteriors])
        if self._config.rule == "ema":
            return [float(place == means_T.argmax()) for place in range(len(posteriors))]
        sd_T = np.sqrt([belief.variance for belief in posteriors])
        draws_ST = np.random.default_rng(int(seed, 16)).standard_normal((self._config.num_draws, len(posteriors)))
        counts_T = np.bincount((means_T + sd_T * draws_ST).argmax(axis=1), minlength=len(posteriors))
        return [float(count) / self._config.num_draws for count in counts_T]
