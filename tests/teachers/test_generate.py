"""The generate step: who is asked, what comes out, and that nothing is lost."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbitrage.config import parse
from arbitrage.contracts.engines import Completion, Failure, SamplingParams
from arbitrage.contracts.steps import Step, StepConfig
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.errors import EngineDiedError, ExecutionError
from arbitrage.records import Candidate, FinishReason, Message, Prompt, Reject, Route, prompt_id_of
from arbitrage.tables import from_table, to_table
from arbitrage.teachers.engines.engine import chance
from arbitrage.teachers.generate import GenerateWorker, generate, requests_for
from arbitrage.teachers.pool import TeacherConfig
from tests.support.asking import a_request
from tests.support.settling import settle_shard
from tests.support.step_facts import facts_of

PROMPTS = Step(facts_of("prompts"), StepConfig(), Prompt)
ROUTES = Step(facts_of("route-x"), StepConfig(), Route)


def a_prompt(text: str, language: str = "en") -> Prompt:
    messages = (Message(role="user", content=text),)
    prompt_id = prompt_id_of(language, messages)
    return Prompt(prompt_id=prompt_id, language=language, messages=messages, source="s", source_id=text)


def a_step(sampling: SamplingParams, **more) -> Step:
    raw = {"name": "fake-a", "engine": {"kind": "fake"}, "languages": ["en"]} | more
    return generate(parse(raw, TeacherConfig, "test"), PROMPTS, ROUTES, sampling)


def inputs_of(prompts: Sequence[Prompt], asked: Sequence[tuple[str, ...]]) -> Inputs:
    routes = [
        Route(prompt_id=p.prompt_id, router="r", teachers=names)
        for p, names in zip(prompts, asked, strict=True)
        if names
    ]
    return Inputs({"prompts": (to_table(prompts, Prompt),), "routes": (to_table(routes, Route),)})


def run(step: Step, inputs: Inputs) -> Output:
    return settle_shard(step.config.build(), inputs, Candidate)


def test_the_step_is_wired():
    step = a_step(SamplingParams(n=2), resources={"cpus": 2.0, "replicas": 3})
    assert step.name == "generate-fake-a"
    assert step.produces is Candidate
    assert step.inputs == {"prompts": (PROMPTS,), "routes": (ROUTES,)}
    assert (step.resources.cpus, step.resources.replicas) == (2.0, 3)


def test_only_routed_prompts_are_sent_in_order_of_prompt_and_sample():
    prompts = [a_prompt(f"question number {i}") for i in range(4)]
    asked = [("fake-a",), ("fake-b",), ("fake-b", "fake-a"), ()]
    output = run(a_step(SamplingParams(n=3)), inputs_of(prompts, asked))
    rows = from_table(output.table, Candidate)
    expected = [(prompts[i].prompt_id, k) for i in (0, 2) for k in range(3)]
    assert [(row.prompt_id, row.sample_index) for row in rows] == expected
    assert {row.teacher for row in rows} == {"fake-a"}
    assert output.rejects.num_rows == 0


@given(
    texts=st.lists(st.text(max_size=20), max_size=8, unique=True),
    n=st.integers(1, 3),
    share=st.floats(0, 1),
)
def test_every_item_comes_out_once_as_row_or_reject(texts, n, share):
    prompts = [a_prompt(text) for text in texts]
    engine = {"kind": "fake", "failures": {"timeout": share / 2, "engine_error": share / 2}}
    step, inputs = a_step(SamplingParams(n=n), engine=engine), inputs_of(prompts, [("fake-a",)] * len(prompts))
    items = step.config.build().begin(inputs).items
    output = run(step, inputs)
    done = [row.candidate_id for row in from_table(output.table, Candidate)]
    lost = [row.item_id for row in from_table(output.rejects, Reject)]
    assert sorted(done + lost) == sorted(item.item_id for item in items)
    assert len({item.item_id for item in items}) == n * len(texts)
    assert all((item.teacher, item.language) == ("fake-a", "en") for item in items)
    assert run(step, inputs).table.equals(output.table)


@given(n=st.integers(1, 6), temperature=st.floats(0.1, 2), seed=st.integers(0, 99))
def test_hedging_samples_one_greedy_and_the_rest_at_temperature(n, temperature, seed):
    sampling = SamplingParams(n=n, temperature=temperature, seed=seed)
    requests = requests_for(a_prompt("hello"), sampling, "t")
    assert [request.temperature for request in requests] == [0.0, *[temperature] * (n - 1)]
    unhedged = requests_for(a_prompt("hello"), sampling.model_copy(update={"hedged": False}), "t")
    assert [request.temperature for request in unhedged] == [temperature] * n
    assert len({r.candidate_id for r in requests}) == len({r.seed for r in requests}) == n


def test_ids_say_everything_that_matters_and_nothing_else():
    base = SamplingParams(n=3)
    ids = [r.candidate_id for r in requests_for(a_prompt("hello"), base, "t")]

    def changed(prompt: Prompt | None = None, teacher: str = "t", **update: object) -> list[bool]:
        sampling = base.model_copy(update=update)
        new = requests_for(prompt or a_prompt("hello"), sampling, teacher)
        return [a != b.candidate_id for a, b in zip(ids, new, strict=False)]

    assert changed(n=5) == [False, False, False]
    assert changed(temperature=0.9) == changed(top_p=0.5) == changed(seed=1) == [False, True, True]
    assert changed(max_tokens=9) == changed(teacher="u") == changed(prompt=a_prompt("hi")) == [True] * 3


def test_cost_tokens_and_usage():
    cost = {"usd_per_million_prompt_tokens": 1e6, "usd_per_million_completion_tokens": 2e6}
    output = run(a_step(SamplingParams(), cost=cost), inputs_of([a_prompt("one two three")], [("fake-a",)]))
    row = from_table(output.table, Candidate)[0]
    assert (row.prompt_tokens, row.completion_tokens, row.cost_usd) == (3, 3, 9.0)
    assert (output.usage.prompt_tokens, output.usage.completion_tokens, output.usage.cost_usd) == (3, 3, 9.0)
    assert (
        from_table(run(a_step(SamplingParams()), inputs_of([a_prompt("x")], [("fake-a",)])).table, Candidate)[
            0
        ].cost_usd
        is None
    )


def test_changing_one_teacher_changes_only_its_own_identity():
    first, same, other = (
        a_step(SamplingParams()),
        a_step(SamplingParams(), notes="x"),
        a_step(SamplingParams(), name="fake-b"),
    )
    assert first.config.identity() == same.config.identity() != other.config.identity()
    assert a_step(SamplingParams(n=2)).config.identity() != first.config.identity()


class Scripted:
    """An engine that gives the results it was told to give."""

    def __init__(self, results):
        self._results = results

    async def generate(self, requests):
        for result in self._results(list(requests)):
            yield result

    async def close(self):
        pass


def completion(request, **more):
    fields = {"candidate_id": request.candidate_id, "text": "x", "finish_reason": FinishReason.STOP} | more
    return Completion(**fields)


@pytest.mark.parametrize(
    ("results", "complaint"),
    [
        (lambda requests: [], "no result arrived for 2 items in flight"),
        (lambda requests: [completion(requests[0])], "no result arrived for 1 items in flight"),
        (lambda requests: [completion(r) for r in (*requests, requests[0])], "a second result"),
        (lambda requests: [completion(requests[0], candidate_id="z")], "returned an unexpected result: z"),
    ],
    ids=["none", "missing", "double", "foreign"],
)
def test_an_engine_that_breaks_its_contract_is_named(results, complaint):
    worker = GenerateWorker(a_step(SamplingParams(n=2)).config, Scripted(results))
    with pytest.raises(ExecutionError, match=complaint):
        settle_shard(worker, inputs_of([a_prompt("hello")], [("fake-a",)]), Candidate)


def test_what_parquet_cannot_hold_is_made_sound():
    def results(requests):
        yield completion(requests[0], text="a\ud800b", cumulative_logprob=float("-inf"))
        yield Failure(requests[1].candidate_id, "engine_error", "\udfff")

    worker = GenerateWorker(a_step(SamplingParams(n=2)).config, Scripted(results))
    output = settle_shard(worker, inputs_of([a_prompt("hello")], [("fake-a",)]), Candidate)
    row = from_table(output.table, Candidate)[0]
    assert (row.text, row.cumulative_logprob) == ("a\ufffdb", None)
    assert from_table(output.rejects, Reject)[0].detail == "\ufffd"


def test_routes_without_their_prompts_are_a_bug():
    inputs = inputs_of([a_prompt("a"), a_prompt("b")], [("fake-a",), ("fake-a",)])
    maimed = Inputs({**inputs.tables, "prompts": (to_table([a_prompt("a")], Prompt),)})
    with pytest.raises(ExecutionError, match="routes name 1 prompts that are not there"):
        a_step(SamplingParams()).config.build().begin(maimed)


def test_the_fake_engines_mishaps_come_at_the_rate_they_were_told():
    engine = {"kind": "fake", "truncated": 0.3, "wrong_language": 0.2, "failures": {"timeout": 0.1}}
    prompts = [a_prompt(f"сколько яблок лежит на столе {i}", "ru") for i in range(1000)]
    output = run(a_step(SamplingParams(), engine=engine), inputs_of(prompts, [("fake-a",)] * 1000))
    rows = from_table(output.table, Candidate)
    assert 70 < output.rejects.num_rows < 130
    assert 0.25 < sum(row.finish_reason == FinishReason.LENGTH for row in rows) / len(rows) < 0.35
    assert 0.15 < sum(row.text.isascii() for row in rows) / len(rows) < 0.25


def test_the_fake_engine_crashes_once_where_a_marker_says_so(tmp_path):
    engine = {"kind": "fake", "crash_after": 3, "crash_marker": str(tmp_path / "crashed"), "max_in_flight": 1}
    step, inputs = (
        a_step(SamplingParams(), engine=engine),
        inputs_of([a_prompt(str(i)) for i in range(6)], [("fake-a",)] * 6),
    )
    with pytest.raises(EngineDiedError):
        run(step, inputs)
    assert run(step, inputs).table.num_rows == 6


@given(st.text(max_size=10))
def test_chance_is_a_number_in_0_1_that_depends_on_its_purpose(text):
    request = a_request("x", candidate_id=text)
    assert 0 <= chance(request, "a") < 1
    assert chance(request, "a") != chance(request, "b")
