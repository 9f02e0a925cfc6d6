"""Which students there are, in the order of training, and where each lies."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.online.config import OnlineConfig


@dataclass(frozen=True, slots=True)
class Stage:
    """A student at a point of the training.

    Attributes:
        name: `start`, `sft`, `dpo`, `round-1`, …; also its directory.
        iteration: the round of a stage that follows a round, else 0.
    """

    name: str
    iteration: int = 0

    def folder(self, out: Path) -> Path:
        """Return where its training lies."""
        return out / self.name


def first_stage(config: OnlineConfig) -> Stage:
    """Return the student that preference training begins with: every exam is against its answers."""
    return Stage("sft" if config.sft is not None else "start")


def preference_stages(config: OnlineConfig) -> list[Stage]:
    """Return the students that preference training makes, in order."""
    offline = [Stage("dpo")] if config.dpo is not None else []
    return offline + [Stage(f"round-{number}", number) for number in range(1, config.rounds.number + 1)]


def shards_of(config: OnlineConfig, iteration: int) -> range:
    """Return the shards whose prompts a round asks: shards are fair samples, so each round's part is one too."""
    if not config.rounds.share_prompts:
        return range(config.data.num_shards)
    share = config.data.num_shards / config.rounds.number
    return range(round((iteration - 1) * share), round(iteration * share))
