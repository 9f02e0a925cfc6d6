"""Whole translation runs: recorded translators, a chat model behind an endpoint, a learned choice by language."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from arbitrage.errors import ArbitrageError, ConfigError, DataError
from arbitrage.execution.plan import plan
from arbitrage.execution.run import Backend
from arbitrage.records import Candidate, Prompt
from arbitrage.report.page import build_report
from arbitrage.runs.run import Run, open_run
from arbitrage.tables import from_table
from pipelines.loading import load_pipeline
from pipelines.planning.estimate import count_requests, estimate
from tests.support.mock_endpoint import serve_beside
from tests.support.pipelines import run_file
from tests.support.runs import shard_bytes
from tests.support.translations import (
    SENTENCES,
    TARGETS,
    replay,
    translate_as_told,
    write_recorded,
    write_sources,
    write_translate,
)


def rows(run: Run, step: str, record: Any) -> list[Any]:
    return [row for table in run.tables(step) for row in from_table(table, record)]


def rejected(run: Run, step: str) -> dict[str, int]:
    return next(dict(each.rejected) for each in run.manifest.steps if each.name == step)


def two_translators(directory: Path, **changes: Any) -> Path:
    """`good` translates all; `lazy` copies every second sentence in German."""
    good, lazy = write_recorded(directory / "good.jsonl"), write_recorded(directory / "lazy.jsonl", de="copies")
    return write_translate(directory, [replay("good", good), replay("lazy", lazy)], **changes)


def test_the_best_translation_of_each_prompt_becomes_a_prompt(tmp_path: Path, backend: Backend) -> None:
    run_file(two_translators(tmp_path), tmp_path / "run", backend)
    run = open_run(tmp_path / "run")
    prompts = rows(run, "select-prompts", Prompt)
    assert Counter(prompt.language for prompt in prompts) == dict.fromkeys(TARGETS, len(SENTENCES["en"]))
    for prompt in prompts:
        place = SENTENCES["en"].index(SENTENCES["en"][int(prompt.source_id[1:])])
        assert prompt.messages[0].content == SENTENCES[prompt.language][place]
        assert prompt.translation.source_language == "en"
        assert prompt.translation.translator in ("good", "lazy")
        assert prompt.translation.quality is not None
    assert rejected(run, "translate-lazy") == {"untranslated": 4}
    assert rejected(run, "translate-good") == {}


def test_both_backends_write_the_same_bytes(tmp_path: Path, ray_backend: Backend) -> None:
    path = two_translators(tmp_path)
    run_file(path, tmp_path / "local")
    run_file(path, tmp_path / "ray", ray_backend)
    assert shard_bytes(tmp_path / "local") == shard_bytes(tmp_path / "ray")


def test_another_run_reads_the_translated_prompts(tmp_path: Path) -> None:
    run_file(two_translators(tmp_path), tmp_path / "run")
    prompts = {"kind": "run", "path": str(tmp_path / "run"), "languages": ["de", "ru"]}
    pool = {"name": "ant", "languages": list(TARGETS), "engine": {"kind": "fake"}}
    config = {
        "kind": "sft",
        "prompts": prompts,
        "router": {"kind": "all"},
        "rewards": [{"kind": "fake", "name": "taste"}],
    }
    path = write_translate(tmp_path / "run", [pool], **config, targets=None)
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("targets")))
    run_file(path, tmp_path / "next")
    found = rows(open_run(tmp_path / "next"), "prompts", Prompt)
    assert Counter(prompt.language for prompt in found) == {"de": 8, "ru": 8}
    assert all(prompt.translation.translator for prompt in found)
    assert len({prompt.source_id for prompt in found}) == 8


def test_a_chat_model_translates_segments_and_code_never_leaves(tmp_path: Path) -> None:
    code = "```\nprint('hello')\n```"
    text = f"{SENTENCES['en'][0]}\n\n{code}\n\n{SENTENCES['en'][1]}"
    with serve_beside(translate_as_told) as endpoint:
        write_sources(tmp_path / "sources.jsonl", (text,))
        teacher = {"name": "chat", "model": "m", "languages": list(TARGETS)}
        teacher |= {"engine": {"kind": "openai", "base_url": endpoint.base_url}}
        run_file(write_translate(tmp_path, [teacher]), tmp_path / "run")
        sent = [body["messages"][-1]["content"] for body in endpoint.bodies]
    assert len(sent) == 2 * len(TARGETS)
    assert not any("hello" in message for message in sent)
    prompts = rows(open_run(tmp_path / "run"), "select-prompts", Prompt)
    assert {prompt.language: prompt.messages[0].content for prompt in prompts} == {
        tag: f"{SENTENCES[tag][0]}\n\n{code}\n\n{SENTENCES[tag][1]}" for tag in TARGETS
    }
    [candidate, *_] = rows(open_run(tmp_path / "run"), "translate-chat", Candidate)
    assert candidate.prompt_tokens > 0


def test_conversations_keep_their_roles(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": SENTENCES["en"][3]},
        {"role": "user", "content": SENTENCES["en"][0]},
        {"role": "assistant", "content": SENTENCES["en"][1]},
        {"role": "user", "content": SENTENCES["en"][2]},
    ]
    (tmp_path / "sources.jsonl").write_text(json.dumps({"id": "c", "messages": turns, "language": "en"}) + "\n")
    with serve_beside(translate_as_told) as endpoint:
        teacher = {"name": "chat", "model": "m", "languages": list(TARGETS)}
        teacher |= {"engine": {"kind": "openai", "base_url": endpoint.base_url}}
        run_file(write_translate(tmp_path, [teacher]), tmp_path / "run")
    for prompt in rows(open_run(tmp_path / "run"), "select-prompts", Prompt):
        told = [(message.role, message.content) for message in prompt.messages]
        assert told == [
            (turn["role"], SENTENCES[prompt.language][SENTENCES["en"].index(turn["content"])]) for turn in turns
        ]


def test_the_translator_of_each_language_is_learned_on_the_first_shards(tmp_path: Path) -> None:
    texts = tuple(f"{text} Number {n} of them." for n in range(12) for text in SENTENCES["en"])
    write_sources(tmp_path / "sources.jsonl", texts)
    for name, poor in (("north", "es"), ("south", "de")):
        lines = []
        for tag, word in (
            ("de", "Nummer {n} von ihnen."),
            ("es", "Número {n} de ellos."),
            ("ru", "Номер {n} из них."),
        ):
            for k in range(len(texts)):
                n, place = divmod(k, 8)
                more = SENTENCES[tag][(place + 3) % 8] if tag == poor else ""
                text = " ".join(filter(None, (SENTENCES[tag][place], more, word.format(n=n))))
                lines.append(json.dumps({"id": f"s{k}", "language": tag, "text": text}, ensure_ascii=False))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    teachers = [replay(name, tmp_path / f"{name}.jsonl") for name in ("north", "south")]
    path = write_translate(tmp_path, teachers, explore=2, num_shards=6, faults={"length": 20.0})
    run_file(path, tmp_path / "run")
    run = open_run(tmp_path / "run")
    chosen = Counter((c.teacher, p.language) for c, p in _committed(run))
    assert chosen["north", "de"]
    assert not chosen["south", "de"]
    assert chosen["south", "es"]
    assert not chosen["north", "es"]
    found = rows(run, "select-prompts", Prompt)
    assert len(found) == 3 * len(texts)


def _committed(run: Run) -> list[tuple[Candidate, Prompt]]:
    prompts = {prompt.prompt_id: prompt for prompt in rows(run, "expand", Prompt)}
    steps = ("translate-north-commit", "translate-south-commit")
    return [(each, prompts[each.prompt_id]) for step in steps for each in rows(run, step, Candidate)]


def test_what_cannot_be_translated_is_rejected_and_counted(tmp_path: Path) -> None:
    rows_in = [
        {"id": "s0", "prompt": SENTENCES["en"][0], "language": "en"},
        {"id": "s1", "prompt": SENTENCES["de"][1], "language": "de"},
        {"id": "s2", "prompt": "```\nx = 1\n```", "language": "en"},
        {"id": "s3", "prompt": "https://example.org {name}", "language": "en"},
    ]
    (tmp_path / "sources.jsonl").write_text("\n".join(map(json.dumps, rows_in)) + "\n", encoding="utf-8")
    good = write_recorded(tmp_path / "good.jsonl")
    run_file(write_translate(tmp_path, [replay("good", good, languages=["de"])]), tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert rejected(run, "expand") == {"nothing_to_translate": 6, "same_language": 1}
    assert rejected(run, "route-all") == {"no_teacher": 4}
    assert rejected(run, "select-prompts") == {"no_candidate": 4}
    assert [prompt.language for prompt in rows(run, "select-prompts", Prompt)] == ["de"]


def test_references_in_words_are_left_out_and_numbers_kept(tmp_path: Path) -> None:
    rows_in = [
        {"id": "s0", "prompt": SENTENCES["en"][0], "language": "en", "reference": "42"},
        {"id": "s1", "prompt": SENTENCES["en"][1], "language": "en", "reference": "a long book"},
    ]
    (tmp_path / "sources.jsonl").write_text("\n".join(map(json.dumps, rows_in)) + "\n", encoding="utf-8")
    good = write_recorded(tmp_path / "good.jsonl")
    run_file(write_translate(tmp_path, [replay("good", good)]), tmp_path / "run")
    found = {p.source_id: p.reference for p in rows(open_run(tmp_path / "run"), "select-prompts", Prompt)}
    assert found == {"s0": "42", "s1": None}
    run_file(write_translate(tmp_path, [replay("good", good)], references="reject"), tmp_path / "strict")
    assert rejected(open_run(tmp_path / "strict"), "expand") == {"reference_not_kept": 3}


def test_the_plan_counts_requests_by_translator_and_language(tmp_path: Path) -> None:
    path = two_translators(tmp_path)
    loaded = load_pipeline(path)
    teachers = loaded.config.select_teachers(loaded.config.load_pool())
    execution = plan(tmp_path / "run", loaded.config.build().targets, 3, range(3))
    requests = count_requests(loaded.config, teachers, execution)
    found = {(e.teacher, e.language): e for e in estimate(loaded.config, teachers, requests, execution)}
    assert found["good", "de"].generations == 8
    assert found["good", "de"].is_by_length
    assert 0 < found["good", "de"].completion_tokens < 8 * 60


def test_the_report_and_the_notes_tell_translators_and_faults(tmp_path: Path) -> None:
    path = two_translators(tmp_path)
    run_file(path, tmp_path / "run")
    notes = load_pipeline(path).config.finish(tmp_path / "run")
    assert any(line.startswith("de: 8 of 8 prompts") and "untranslated 4" in line for line in notes.lines)
    assert "untranslated" in build_report(tmp_path / "run").path.read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"targets": []}, "targets"),
        ({"targets": ["xx-yy-zz"]}, "targets"),
        ({"targets": ["de", "de"]}, "given twice"),
        ({"explore": 3}, "explore"),
        ({"forms": {"godo": {"kind": "recorded"}}}, "did you mean"),
        ({"forms": {"good": {"kind": "template", "template": "{txt}"}}}, "{txt}"),
    ],
)
def test_a_wrong_config_is_an_error_that_names_it(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    good = write_recorded(tmp_path / "good.jsonl")
    path = write_translate(tmp_path, [replay("good", good)], **changes)
    with pytest.raises(ArbitrageError) as caught:
        load_pipeline(path).config.build()
    assert words in str(caught.value)


def test_prompts_of_a_run_that_is_none_are_an_error(tmp_path: Path) -> None:
    good = write_recorded(tmp_path / "good.jsonl")
    path = write_translate(tmp_path, [replay("good", good)], prompts={"kind": "run", "path": str(tmp_path / "no")})
    with pytest.raises((ConfigError, DataError), match=r"prompts\.path"):
        run_file(path, tmp_path / "run")
