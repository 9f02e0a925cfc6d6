"""Finished runs to report on: real steps and a real backend, with teachers whose skill is written in the case."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from arbitrage.contracts.steps import Pipeline, Step, StepConfig
from arbitrage.contracts.workers import Batch, Inputs, Item, Output, ShardWorker, SourceWorker, Usage
from arbitrage.demo.prompts import DemoPromptsConfig
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.progress import NoProgress
from arbitrage.execution.run import RunRequest, execute
from arbitrage.records import Candidate, FinishReason, Prompt, Reject, Route, content_id
from arbitrage.rewards.calibrate import CalibrateConfig, calibrate
from arbitrage.rewards.combine import EnsembleConfig, combine
from arbitrage.rewards.fake import FakeRewardConfig
from arbitrage.rewards.score import check, score
from arbitrage.rewards.text_checks import EmptinessConfig, ExactConfig, TruncationConfig
from arbitrage.runs.run import Run, open_run
from arbitrage.selection.pairs import PairSelection, select_pairs
from arbitrage.selection.sft import SftSelection, select_sft
from arbitrage.tables import to_table
from tests.support.step_facts import facts_of

HOSTILE = '</script><script>window.pwned = 1</script><img src="http://evil.example/x.png" onerror="window.pwned = 2">'
"""Ends a script element, starts another, and asks the network for a picture."""


@dataclass(frozen=True)
class TeacherCase:
    """A scripted teacher: the chance that an answer is right, by language (`skill` elsewhere); not sampled = not declared."""

    skill: float = 0.5
    skills: Mapping[str, float] = field(default_factory=dict)
    languages: tuple[str, ...] | None = None
    truncated: float = 0.0
    rejected: float = 0.0
    hostile: float = 0.0
    verbose: bool = False


@dataclass(frozen=True)
class ReportCase:
    """What the run shall look like."""

    teachers: Mapping[str, TeacherCase]
    languages: tuple[str, ...] = ("en", "ar", "hi")
    per_language: int = 12
    num_samples: int = 2
    num_shards: int = 3
    shards: tuple[int, ...] | None = None
    has_reference: bool = True
    has_reward: bool = True
    has_pairs: bool = True
    has_truncation_check: bool = True
    exact_weight: float = 1.5
    has_second_reward: bool = False  # `judge`, which has no say in the selection
    language_route: Mapping[str, str] = field(default_factory=dict)
    language_bias: Mapping[str, float] = field(default_factory=dict)


def make_run(run_dir: Path, case: ReportCase) -> Run:
    """Run a case to its end."""
    request = RunRequest(
        name=run_dir.name,
        kind="preference",
        pipeline=_pipeline(case),
        run_dir=run_dir,
        num_shards=case.num_shards,
        shards=case.shards or tuple(range(case.num_shards)),
        max_rejected=1.0,
        config={},
    )
    execute(request, LocalBackend(), NoProgress())
    return open_run(run_dir)


def _pipeline(case: ReportCase) -> Pipeline:
    world = DemoPromptsConfig(languages=case.languages, per_language=case.per_language)
    prompts = Step(
        facts_of("prompts"), CaseSource(world=world, has_reference=case.has_reference), Prompt, scope="source"
    )
    routes = [
        Step(facts_of("route-all"), CaseRoute(router="all", asked=_asked(case)), Route, {"prompts": (prompts,)})
    ]
    if case.language_route:
        by_language = {lang: (teacher,) for lang, teacher in case.language_route.items()}
        config = CaseRoute(router="language", asked=by_language)
        routes.append(Step(facts_of("route-language"), config, Route, {"prompts": (prompts,)}))
    candidates = [_draft(name, t, case, prompts, routes[0]) for name, t in case.teachers.items()]
    checks = (*([TruncationConfig()] if case.has_truncation_check else []), EmptinessConfig(), ExactConfig())
    scores = [check(checks, d.facts.teacher, prompts, d) for d in candidates]
    table = {
        "prompts": (prompts,),
        "routes": tuple(routes),
        "candidates": tuple(candidates),
        "scores": tuple(scores),
    }
    if not case.has_reward:
        return Pipeline({}, table)
    reward = FakeRewardConfig(name="rm", language_bias=dict(case.language_bias))
    rewards = [reward, *([FakeRewardConfig(name="judge", seed=7)] if case.has_second_reward else [])]
    scores += [score(each, d.facts.teacher, prompts, d) for each in rewards for d in candidates]
    calibration = calibrate(CalibrateConfig(), prompts, candidates, scores)
    weights = {"rm": 1.0, **({"exact": case.exact_weight} if case.has_reference else {})}
    final = combine(EnsembleConfig(weights=weights), prompts, candidates, scores, calibration)
    datasets = {"sft": select_sft(SftSelection(), prompts, candidates, final)}
    if case.has_pairs:
        datasets["preference"] = select_pairs(PairSelection(), prompts, candidates, final)
    table |= {"scores": tuple(scores), "calibration": (calibration,), "final": (final,)}
    return Pipeline(datasets, table)


def _asked(case: ReportCase) -> dict[str, tuple[str, ...]]:
    return {
        language: tuple(n for n, t in case.teachers.items() if t.languages is None or language in t.languages)
        for language in case.languages
    }


def _draft(name: str, teacher: TeacherCase, case: ReportCase, prompts: Step, routes: Step) -> Step:
    config = CaseTeacher(
        teacher=name,
        skills={lang: teacher.skills.get(lang, teacher.skill) for lang in case.languages},
        truncated=teacher.truncated,
        rejected=teacher.rejected,
        hostile=teacher.hostile,
        verbose=teacher.verbose,
        num_samples=case.num_samples,
    )
    return Step(facts_of(f"generate-{name}"), config, Candidate, {"prompts": (prompts,), "routes": (routes,)})


class CaseSource(StepConfig):
    """The demo world's questions, with or without their answers."""

    step_kind: ClassVar[str] = "test_source"

    world: DemoPromptsConfig
    has_reference: bool

    def build(self) -> SourceWorker:
        return _Source(self)


class _Source:
    def __init__(self, config: CaseSource) -> None:
        self._config = config

    def read(self) -> Iterator[Batch]:
        for batch in self._config.world.build().read():
            if not self._config.has_reference:
                stripped = [p.model_copy(update={"reference": None}) for p in batch.prompts]
                batch = Batch(stripped, batch.rejects)
            yield batch


class CaseRoute(StepConfig):
    """Asks the teachers that the case names for each language."""

    step_kind: ClassVar[str] = "test_route"

    router: str
    asked: dict[str, tuple[str, ...]]

    def build(self) -> ShardWorker:
        return _Router(self)


class _Router:
    def __init__(self, config: CaseRoute) -> None:
        self._config = config

    def items(self, inputs: Inputs) -> list[Item]:
        return [Item(p.prompt_id, p.language) for p in inputs.records("prompts", Prompt)]

    async def run(self, inputs: Inputs) -> Output:
        asked = self._config.asked
        routes, rejects = [], []
        for p in inputs.records("prompts", Prompt):
            if asked.get(p.language):
                routes.append(Route(prompt_id=p.prompt_id, router=self._config.router, teachers=asked[p.language]))
            else:
                rejects.append(Reject(item_id=p.prompt_id, reason="no_teacher"))
        return Output(to_table(routes, Route), to_table(rejects, Reject))

    async def close(self) -> None:
        return None


class CaseTeacher(StepConfig):
    """Answers by chance, the chance drawn from the candidate's id."""

    step_kind: ClassVar[str] = "test_teacher"

    teacher: str
    skills: dict[str, float]
    truncated: float
    rejected: float
    hostile: float
    verbose: bool
    num_samples: int

    def build(self) -> ShardWorker:
        return _Teacher(self)


class _Teacher:
    def __init__(self, config: CaseTeacher) -> None:
        self._config = config

    def items(self, inputs: Inputs) -> list[Item]:
        return [
            Item(self._id(p, s), p.language, self._config.teacher)
            for p in self._prompts(inputs)
            for s in range(self._config.num_samples)
        ]

    async def run(self, inputs: Inputs) -> Output:
        rows, rejects = [], []
        for prompt in self._prompts(inputs):
            for sample in range(self._config.num_samples):
                own = self._id(prompt, sample)
                if _chance(own, "rejected") < self._config.rejected:
                    rejects.append(Reject(item_id=own, reason="timeout"))
                else:
                    rows.append(self._candidate(prompt, sample, own))
        tokens = sum(row.completion_tokens or 0 for row in rows)
        usage = Usage(20 * len(rows), tokens, 1e-6 * tokens)
        return Output(to_table(rows, Candidate), to_table(rejects, Reject), usage)

    async def close(self) -> None:
        return None

    def _prompts(self, inputs: Inputs) -> list[Prompt]:
        asked = {r.prompt_id for r in inputs.records("routes", Route) if self._config.teacher in r.teachers}
        return [p for p in inputs.records("prompts", Prompt) if p.prompt_id in asked]

    def _id(self, prompt: Prompt, sample: int) -> str:
        return content_id("candidate", prompt.prompt_id, self._config.teacher, sample)

    def _candidate(self, prompt: Prompt, sample: int, own: str) -> Candidate:
        text = self._text(prompt, own)
        is_cut = _chance(own, "truncated") < self._config.truncated
        return Candidate(
            candidate_id=own,
            prompt_id=prompt.prompt_id,
            teacher=self._config.teacher,
            revision="1",
            sample_index=sample,
            seed=0,
            text=text,
            finish_reason=FinishReason.LENGTH if is_cut else FinishReason.STOP,
            prompt_tokens=20,
            completion_tokens=len(text),
            cost_usd=1e-6 * len(text),
        )

    def _text(self, prompt: Prompt, own: str) -> str:
        if _chance(own, "hostile") < self._config.hostile:
            return HOSTILE
        question = prompt.messages[-1].content
        if _chance(own, "right") < self._config.skills[prompt.language]:
            return prompt.reference or question
        return f"{question}\n\n{question} …" if self._config.verbose else question.split()[0]


def _chance(own: str, purpose: str) -> float:
    return int(content_id(own, purpose)[:12], 16) / 16**12
