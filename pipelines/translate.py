"""Prompts in other languages: translate, check, score, keep the best translation of each prompt.

    prompts ─> expand ─> route ─> generate ─> translate ─> score ─> ensemble ─> select-prompts

Translators are teachers: a chat model by an instruction, a translation model by its template, recorded translations.
With `explore`, every translator is sampled on the first shards, and the best one of each language is learned there
for the others, as `explore_commit` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from arbitrage.config import LanguageTag
from arbitrage.contracts.engines import SamplingParams
from arbitrage.contracts.routers import PoolMember
from arbitrage.contracts.steps import Pipeline, Span, Step
from arbitrage.errors import ConfigError, closest, did_you_mean
from arbitrage.export.format import Trainer
from arbitrage.prompts.step import read_prompts
from arbitrage.records import Prompt
from arbitrage.rewards import CheckConfig
from arbitrage.rewards.translation_length import TranslationLengthConfig
from arbitrage.runs.manifest import Notes
from arbitrage.runs.paths import AnyPath
from arbitrage.teachers.pool import TeacherConfig, TeacherPool, pool_members
from arbitrage.text.lengths import expected_length
from arbitrage.translation.expand import Expand, References, expand
from arbitrage.translation.faults import TranslationChecks
from arbitrage.translation.forms import TranslatorForm, default_form
from arbitrage.translation.generate import TranslateRequests, generate_translations, jobs_of
from arbitrage.translation.select import select_translations
from arbitrage.translation.translate import translate
from pipelines.candidates import (
    ALL,
    CandidatesConfig,
    Sampled,
    ScoreSteps,
    ShardRange,
    TableBuild,
    calibrate_scores,
    combine_scores,
    compare_routers,
    score_candidates,
)
from pipelines.translating import translation_notes
from routers.all import AllConfig
from routers.choice import ChoiceConfig
from routers.learning import AnyLearner
from routers.learning.learned import LearnedLearner
from routers.learning.train import Explored, route_trained, train
from routers.step import route


@dataclass(frozen=True, slots=True)
class Translations:
    """What the translators of some shards gave.

    Attributes:
        replies: for each translator, its replies about segments.
        candidates: for each translator, its translations.
    """

    replies: tuple[Step, ...]
    candidates: tuple[Step, ...]

    def __add__(self, other: "Translations") -> "Translations":
        """Return both."""
        return Translations(self.replies + other.replies, self.candidates + other.candidates)


class TranslateConfig(CandidatesConfig):
    """Config of a run that translates prompts.

    Attributes:
        targets: languages that every prompt is translated into.
        references: what becomes of a prompt's reference: `numbers` keeps numbers and labels of options, and leaves
            words out, because they are not in the target language; `all` keeps every reference; `reject` rejects
            prompts with a reference in words.
        router: which translators each prompt is sent to; its language is the target language.
        forms: how a translator is given the texts, by its name (default: chat models get an instruction, the engine
            `replay` looks whole messages up).
        faults: limits of the rule-based checks of translations.
        minimum: smallest final score of a translation that is kept; none by default.
        explore: number of shards in which every translator is sampled; those of the other shards are learned from
            them. 0: all shards go by `router`.
        learner: how the translators of the other shards are learned.
        commit: how they are chosen there.
        sampling: sampling parameters; by default one greedy translation.
        export: no data set is written for trainers; `prompts: {kind: run, path: …}` reads the translated prompts.
    """

    kind: Literal["translate"]
    targets: Annotated[tuple[LanguageTag, ...], Field(min_length=1)]
    references: References = "numbers"
    router: AllConfig = AllConfig()
    forms: dict[str, TranslatorForm] = {}
    faults: TranslationChecks = TranslationChecks()
    minimum: float | None = None
    explore: int = Field(default=0, ge=0)
    learner: AnyLearner = LearnedLearner()
    commit: ChoiceConfig = ChoiceConfig()
    sampling: SamplingParams = SamplingParams(n=1, temperature=0.0, max_tokens=2048)
    export: tuple[Trainer, ...] = ()

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.explore >= self.num_shards:
            raise ValueError(f"explore: all {self.num_shards} shards would be explored; raise num_shards")
        if twice := sorted({tag for tag in self.targets if self.targets.count(tag) > 1}):
            raise ValueError(f"targets: '{twice[0]}' is given twice")
        return self

    def all_checks(self) -> tuple[CheckConfig, ...]:
        """Return the checks given, and those that are always made."""
        given = super().all_checks()
        is_named = any(isinstance(check, TranslationLengthConfig) for check in given)
        return given if is_named else (*given, TranslationLengthConfig())

    def ranking_checks(self) -> tuple[str, ...]:
        """Where nothing better ranks translations, their length does."""
        return tuple(check.name for check in self.all_checks() if isinstance(check, TranslationLengthConfig))

    def build(self) -> Pipeline:
        """Build the steps."""
        pool = self.load_pool()
        teachers = self.select_teachers(pool)
        self._require_known(teachers)
        members = pool_members(teachers)
        sources = read_prompts(self.prompts)
        prompts = expand(self._expansion(), sources)
        if self.explore:
            return self._explored(pool, teachers, members, sources, prompts)
        routes = route(self.router, members, prompts)
        found = self._translations(teachers, prompts, routes)
        scores = score_candidates(self, pool, prompts, teachers, found.candidates)
        return self._pipeline(members, sources, prompts, routes, found, scores, None)

    def sampled_prompts(self, source: Prompt) -> tuple[Prompt, ...]:
        """Return a prompt in each target language."""
        return self._expansion().prompts_of(source)

    def sampled(self, teacher: TeacherConfig, prompt: Prompt) -> Sampled:
        """Return what a translator is sent for a prompt: a request for each segment."""
        form = self._form(teacher)
        jobs = [job for _, job in jobs_of(prompt, form)]
        expected = sum(expected_length(job.text, job.source, job.target) for job in jobs)
        return Sampled(len(jobs), sum(len(form.message(job)) for job in jobs), expected)

    def finish(self, run_dir: AnyPath) -> Notes:
        """Say what was translated by whom, and what is missing."""
        return translation_notes(run_dir)

    def _explored(
        self,
        pool: TeacherPool,
        teachers: Sequence[TeacherConfig],
        members: Sequence[PoolMember],
        sources: Step,
        prompts: Step,
    ) -> Pipeline:
        first, rest = ShardRange(Span(0, self.explore)), ShardRange(Span(self.explore), "commit")
        all_routes = first.of(route(self.router, members, prompts))
        explored = self._translations(teachers, prompts, all_routes, first)
        explored_scores = score_candidates(self, pool, prompts, teachers, explored.candidates, first)
        calibration = calibrate_scores(self, prompts, explored.candidates, explored_scores, first)
        rewards = combine_scores(self, prompts, explored.candidates, explored_scores, calibration, first)
        rewards = rewards.part("explore")
        seen = Explored(prompts, all_routes, explored.candidates, rewards)
        router = first.of(train(self.learner, members, seen, absent_is_lowest=True))
        declared = {"language_filter": self.router.language_filter, "unfiltered": self.router.unfiltered}
        choice = self.commit.model_copy(update=declared)
        routes = replace(route_trained(choice, members, prompts, router, "learned"), span=rest.span)
        committed = self._translations(teachers, prompts, routes, rest)
        levels = explored_scores.levels
        scores = score_candidates(self, pool, prompts, teachers, committed.candidates, rest, levels)
        found = explored + committed
        return self._pipeline(
            members, sources, prompts, all_routes, found, explored_scores + scores, calibration, router
        )

    def _pipeline(
        self,
        members: Sequence[PoolMember],
        sources: Step,
        prompts: Step,
        routes: Step,
        found: Translations,
        scores: ScoreSteps,
        calibration: Step | None,
        router: Step | None = None,
    ) -> Pipeline:
        if router is None:
            calibration = calibrate_scores(self, prompts, found.candidates, scores)
        final = combine_scores(self, prompts, found.candidates, scores, calibration)
        compared = compare_routers(self, members, prompts)
        table = TableBuild(prompts, routes, compared, found.candidates, scores, calibration, final)
        chosen = select_translations(self.minimum, prompts, found.replies, found.candidates, final)
        return table.pipeline({"prompts": chosen}, router=router, replies=found.replies, sources=sources)

    def _translations(
        self, teachers: Sequence[TeacherConfig], prompts: Step, routes: Step, part: ShardRange = ALL
    ) -> Translations:
        replies, candidates = [], []
        for teacher in teachers:
            sent = part.of(generate_translations(teacher, self._form(teacher), prompts, routes, self.sampling))
            assert isinstance(sent.config, TranslateRequests)
            replies.append(sent)
            candidates.append(part.of(translate(sent.config, self.faults, prompts, routes, sent)))
        return Translations(tuple(replies), tuple(candidates))

    def _expansion(self) -> Expand:
        return Expand(targets=self.targets, references=self.references)

    def _form(self, teacher: TeacherConfig) -> TranslatorForm:
        return self.forms.get(teacher.name) or default_form(teacher)

    def _require_known(self, teachers: Sequence[TeacherConfig]) -> None:
        names = [teacher.name for teacher in teachers]
        for name in self.forms:
            if name not in names:
                hint = did_you_mean(closest(name, names))
                raise ConfigError(f"forms: '{name}' is none of the translators {', '.join(names)}{hint}")
