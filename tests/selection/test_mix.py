"""The mix of preference pairs: quotas by language, the share of safety, lots, and whole runs that keep it."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from arbitrage.config import parse
from arbitrage.contracts.workers import Inputs
from arbitrage.errors import ConfigError
from arbitrage.records import MixQuota, PreferencePair, Prompt, Reject
from arbitrage.report.page import build_report
from arbitrage.runs.run import open_run
from arbitrage.selection.mix import KeepStep, MixConfig, MixStep
from arbitrage.tables import from_table, to_table
from pipelines.loading import load_pipeline
from tests.support.contest_rows import a_prompt
from tests.support.pipelines import QUESTIONS, run_file, write_pipeline

Kept = tuple[list[PreferencePair], list[Reject], list[MixQuota]]


def a_pair(prompt: Prompt, number: int = 0) -> PreferencePair:
    ids = {"chosen_id": f"{prompt.prompt_id}-{number}", "rejected_id": f"{prompt.prompt_id}-not"}
    scores = {"chosen_score": 1.0, "rejected_score": 0.0, "score_gap": 1.0}
    names = {"chosen_teacher": "a", "rejected_teacher": "b", "reward": "r@1", "policy": "max_gap"}
    texts = {"prompt": prompt.messages, "chosen": prompt.messages, "rejected": prompt.messages}
    return PreferencePair(prompt_id=prompt.prompt_id, language=prompt.language, **ids, **scores, **names, **texts)


def prompts_of(language: str, general: int, safety: int = 0) -> list[Prompt]:
    return [
        a_prompt(f"{language}-{n}", language).model_copy(update={"task": "safety" if n < safety else None})
        for n in range(general + safety)
    ]


def keep(config: MixConfig, prompts: list[Prompt], pairs_each: int = 1, num_shards: int = 3) -> Kept:
    """Do both steps over shards; hold the conservation law."""
    shards = []
    for k in range(num_shards):
        mine = prompts[k::num_shards]
        pairs = [a_pair(p, n) for p in mine for n in range(pairs_each)]
        shards.append(Inputs({"prompts": (to_table(mine, Prompt),), "pairs": (to_table(pairs, PreferencePair),)}))
    table = MixStep(mix=config).build().run(shards).table
    kept: list[PreferencePair] = []
    rejects: list[Reject] = []
    for shard in shards:
        worker, inputs = (
            KeepStep(mix=config).build(),
            Inputs(shard.tables | {"mix": (table,)}),
        )
        output = asyncio.run(worker.run(inputs))
        rows, lost = from_table(output.table, PreferencePair), from_table(output.rejects, Reject)
        assert {p.prompt_id for p in rows} ^ {r.item_id for r in lost} == {i.item_id for i in worker.items(inputs)}
        kept, rejects = kept + rows, rejects + lost
    return kept, rejects, from_table(table, MixQuota)


def a_mix(**values: object) -> MixConfig:
    return parse(values, MixConfig, "test")


def is_safe(pair: PreferencePair, prompts: list[Prompt]) -> bool:
    return next(p.task for p in prompts if p.prompt_id == pair.prompt_id) == "safety"


def test_quotas_are_kept_by_language_and_told() -> None:
    prompts = [*prompts_of("de", 30), *prompts_of("sw", 4), *prompts_of("fr", 9)]
    kept, rejects, rows = keep(a_mix(quotas={"default": 10, "languages": {"fr": 0, "th": 5}}), prompts)
    assert Counter(p.language for p in kept) == {"de": 10, "sw": 4}
    assert Counter(r.reason for r in rejects) == {"quota_filled": 29}
    told = {row.language: (row.wanted, row.available, row.kept) for row in rows}
    assert told == {"de": (10, 30, 10), "fr": (0, 9, 0), "sw": (10, 4, 4), "th": (5, 0, 0)}


@pytest.mark.parametrize(
    ("general", "safety", "quota", "expected"),
    [
        (90, 50, None, (90, 10)),  # brought down to a tenth
        (90, 4, None, (90, 4)),  # too few: nothing else is thrown away
        (90, 50, 40, (36, 4)),
        (20, 50, 40, (20, 2)),  # the share holds where the quota is not filled
        (90, 2, 40, (38, 2)),
    ],
)
def test_safety_has_its_share_and_no_more(general: int, safety: int, quota: int | None, expected: tuple) -> None:
    prompts = prompts_of("hi", general, safety)
    quotas = {} if quota is None else {"quotas": {"default": quota}}
    kept, rejects, _ = keep(a_mix(safety={"fraction": 0.1}, **quotas), prompts)
    num_safe = sum(is_safe(pair, prompts) for pair in kept)
    assert (len(kept) - num_safe, num_safe) == expected
    reasons = Counter(r.reason for r in rejects)
    assert reasons["safety_share_filled"] == safety - expected[1]
    assert reasons["quota_filled"] == general - expected[0]


@pytest.mark.parametrize(("fraction", "expected"), [(0.29, (71, 29)), (0.57, (43, 57)), (0.15, (85, 15))])
def test_a_share_that_binary_numbers_miss_is_kept_whole(fraction: float, expected: tuple[int, int]) -> None:
    prompts = prompts_of("hi", 100, 100)
    kept, _, _ = keep(a_mix(safety={"fraction": fraction}, quotas={"default": 100}), prompts)
    num_safe = sum(is_safe(pair, prompts) for pair in kept)
    assert (len(kept) - num_safe, num_safe) == expected


@given(
    counts=st.dictionaries(st.sampled_from(["de", "sw", "th"]), st.tuples(st.integers(0, 25), st.integers(0, 25))),
    fraction=st.floats(0.0, 0.9),
    quota=st.none() | st.integers(0, 30),
    pairs_each=st.integers(1, 3),
)
def test_mix_laws(counts: dict, fraction: float, quota: int | None, pairs_each: int) -> None:
    prompts = [p for language, (general, safe) in counts.items() for p in prompts_of(language, general, safe)]
    values = {"safety": {"fraction": fraction}} | ({} if quota is None else {"quotas": {"default": quota}})
    kept, _, rows = keep(a_mix(**values), prompts, pairs_each)
    for language in counts:
        mine = [pair for pair in kept if pair.language == language]
        safe = sum(is_safe(pair, prompts) for pair in mine)
        assert quota is None or len(mine) <= quota
        assert safe <= fraction * len(mine) + 1e-6
        assert len(mine) == sum(row.kept for row in rows if row.language == language)


def test_another_seed_keeps_others_and_a_larger_quota_keeps_them_all() -> None:
    prompts = prompts_of("de", 40)
    ten, other, twenty = (
        {p.prompt_id for p in keep(a_mix(quotas={"default": n}, seed=seed), prompts)[0]}
        for n, seed in ((10, 0), (10, 1), (20, 0))
    )
    assert ten != other
    assert ten < twenty


def test_a_run_keeps_its_mix_and_reports_it(tmp_path: Path) -> None:
    mix = {"quotas": {"default": 3, "languages": {"hi": 1}}}
    path = write_pipeline(tmp_path, pairs={"policy": {"kind": "max_gap"}, "min_gap": 0.1, "mix": mix})
    manifest = run_file(path, tmp_path / "run")
    found = open_run(tmp_path / "run")
    counts = Counter(tag for table in found.tables("select-preference") for tag in table["language"].to_pylist())
    assert counts["hi"] == 1
    assert max(counts.values()) == 3
    report = next(step for step in manifest.steps if step.name == "select-preference")
    assert report.rejected["quota_filled"] == report.num_in - report.num_rows
    summary = json.loads(build_report(tmp_path / "run").summary.to_json())
    assert {row["language"]: row["kept"] for row in summary["pairs"]["mix"]} == dict(counts)
    assert "The requested mix" in (tmp_path / "run" / "report.html").read_text()
    assert set(counts) <= set(QUESTIONS)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"mix": {}}, "a mix needs quotas or safety"),
        ({"mix": {"safety": {"fraction": 1.0}}}, "pairs.mix.safety.fraction"),
        ({"mix": {"quotas": {"languages": {"german": 3}}}}, "did you mean 'de'"),
        ({"mix": {"safety": {"fraction": 0.1, "tasks": []}}}, "pairs.mix.safety.tasks"),
        ({"policy": {"kind": "native_vs_translated", "translated": ["anT"]}}, "'anT' is not one of ant, bee, cow"),
        (
            {"policy": {"kind": "native_vs_translated", "translated": ["ant", "bee", "cow"]}},
            "at least one teacher must be native",
        ),
        ({"policy": {"kind": "strong_vs_weak", "teachers": ["ant", "elk"]}}, "'elk' is not one of"),
        ({"policy": {"kind": "on_policy", "student": "me"}}, "'me' is not one of"),
    ],
)
def test_mistakes_are_sentences(tmp_path: Path, pairs: dict, message: str) -> None:
    path = write_pipeline(tmp_path, pairs=pairs)
    with pytest.raises(ConfigError, match=message):
        load_pipeline(path).config.build()


def test_policies_of_named_teachers_run_through_the_pipeline(tmp_path: Path) -> None:
    policy = {"kind": "native_vs_translated", "translated": ["cow"]}
    path = write_pipeline(tmp_path, pairs={"policy": policy, "min_gap": 0.1})
    assert yaml.safe_load(path.read_text())["pairs"]["policy"] == policy
    run_file(path, tmp_path / "run")
    found = open_run(tmp_path / "run")
    pairs = [p for table in found.tables("select-preference") for p in from_table(table, PreferencePair)]
    assert pairs
    assert {p.rejected_teacher for p in pairs} == {"cow"}
    assert {p.chosen_teacher for p in pairs} <= {"ant", "bee"}
