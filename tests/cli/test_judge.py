"""`arbitrage judge` as a user meets it: data sets of any make, a judge behind HTTP, garbage, interruption."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from aiohttp import web

from arbitrage.errors import DataError
from arbitrage.report.page import build_report
from tests.conftest import Told
from tests.support.browser import chromium, requests_of, require_chromium, resize
from tests.support.jsonl import write_jsonl
from tests.support.judging import judge_behind, prefers, write_pool
from tests.support.mock_endpoint import answer, serve_beside

LANGUAGES = ("en", "de")
GOOD, BAD = "sound", "wrong"


@pytest.fixture
def judge(arbitrage: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments: object) -> tuple[int, str, str]:
        told = arbitrage("judge", *arguments)
        return told.code, told.out, told.err

    return call


def rows(text: Callable[[int], str], number: int = 20, **more: object) -> list[dict[str, object]]:
    return [
        {"id": f"q{n}", "lang": tag, "question": f"{tag}: what about {n}?", "answer": f"{text(n)} {tag}-{n}"} | more
        for n in range(number)
        for tag in LANGUAGES
    ]


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """A is right on three of four, B on one of four, both in two languages that share ids."""
    a = write_jsonl(tmp_path / "a.jsonl", rows(lambda n: BAD if n % 4 == 0 else GOOD))
    table = pa.Table.from_pylist(
        [
            {"prompt_id": r["id"], "language": r["lang"], "messages": [{"role": "assistant", "content": r["answer"]}]}
            for r in rows(lambda n: GOOD if n % 4 == 0 else BAD)
        ]
    )
    pq.write_table(table, tmp_path / "b.parquet")
    return a, tmp_path / "b.parquet"


def test_a_fair_judge_finds_the_better_set_in_two_calls_per_match(judge, sets, tmp_path: Path) -> None:
    with serve_beside(judge_behind(prefers(lambda text: GOOD in text))) as endpoint:
        write_pool(tmp_path / "teachers.yaml", endpoint.base_url, "critic")
        labels = write_jsonl(
            tmp_path / "people.jsonl",
            [{"qid": f"q{n}", "winner": "model_b" if n % 4 == 0 else "A"} for n in range(20)],
        )
        arguments = (*sets, "--judge", "critic", "--labels", labels, "--json", "out.json", "--html", "out.html")
        code, out, err = judge(*arguments)
        assert code == 0, err
        assert len(endpoint.bodies) == 2 * 40
        assert judge(*arguments)[0] == 0
        assert len(endpoint.bodies) == 2 * 40  # what was asked is kept
    assert "a.jsonl (A) against b.parquet (B), judged by critic" in " ".join(out.split())
    found = json.loads((tmp_path / "out.json").read_text())
    [figures] = found["judges"]
    everywhere, *languages = figures["standings"]
    assert [s["language"] for s in languages] == ["de", "en"]
    assert everywhere["net"]["value"] == pytest.approx(0.5)
    with pytest.raises(DataError, match="is a run of judges"):
        build_report(tmp_path / "runs" / "judge-a.jsonl-against-b.parquet")
    assert everywhere["num_clusters"] == 20  # translations share an id
    assert everywhere["reliability"]["consistency"]["value"] == 1.0
    assert figures["agreements"][0]["agreement"]["kappa"]["value"] == 1.0
    page = (tmp_path / "out.html").read_text()
    assert "a.jsonl beats b.parquet" in page
    assert "<script src" not in page


def test_a_judge_that_only_sees_the_first_is_told_from_a_verdict(judge, sets, tmp_path: Path) -> None:
    with serve_beside(judge_behind(lambda first, second: "[[1]]")) as endpoint:
        write_pool(tmp_path / "teachers.yaml", endpoint.base_url, "critic")
        code, out, _ = judge(*sets, "--judge", "critic")
    assert code == 0
    assert "critic prefers the response shown first" in out
    assert "50.0 % [50.0, 50.0]" in out


def test_a_judge_that_garbles_is_counted(judge, sets, tmp_path: Path) -> None:
    def say(first: str, second: str) -> str:
        return (
            "no idea" if any(f"-{n}" in first for n in (3, 5)) else prefers(lambda text: GOOD in text)(first, second)
        )

    with serve_beside(judge_behind(say)) as endpoint:
        write_pool(tmp_path / "teachers.yaml", endpoint.base_url, "critic")
        code, out, _ = judge(*sets, "--judge", "critic", "--json", "-")
        standing = json.loads(out)["judges"][0]["standings"][0]
        assert code == 0
        assert standing["reliability"]["num_failed"] == 4
        assert standing["reliability"]["errors"] == {"a_first:no_verdict": 4, "b_first:no_verdict": 4}
        assert standing["net"]["value"] == pytest.approx(0.5 - 4 / 40)  # they had been wins
        assert "critic: 4 of 40 matches got no verdict" in " ".join(json.loads(out)["cautions"])


def test_a_judge_that_never_answers_is_an_error(judge, sets, tmp_path: Path) -> None:
    with serve_beside(judge_behind(lambda first, second: "…")) as endpoint:
        write_pool(tmp_path / "teachers.yaml", endpoint.base_url, "critic")
        code, _, err = judge(*sets, "--judge", "critic")
    assert code == 3
    assert "judge critic: not one of 40 matches got a verdict (a_first:no_verdict, b_first:no_verdict)" in err


def test_a_judge_that_never_answers_leaves_the_figures_of_the_others(judge, sets, tmp_path: Path) -> None:
    """Ten of the forty answers are equal: for these no judge is called."""
    write_jsonl(tmp_path / "a.jsonl", rows(lambda n: GOOD, reference=GOOD))
    with serve_beside(judge_behind(lambda first, second: "…")) as endpoint:
        write_pool(tmp_path / "teachers.yaml", endpoint.base_url, "critic")
        written = ("--json", str(tmp_path / "found.json"), "--html", str(tmp_path / "found.html"))
        options = ("--judge", "critic", "--judge", "exact", *written)
        code, out, err = judge(*sets, *options)
    assert code == 3
    assert "judge critic: not one of 30 matches got a verdict (a_first:no_verdict, b_first:no_verdict)" in err
    found = json.loads((tmp_path / "found.json").read_text())
    assert [each["judge"] for each in found["judges"]] == ["exact"]
    assert list(found["mute"]) == ["critic"]
    assert ("unreadable", "judge critic") in {(alarm["kind"], alarm["what"]) for alarm in found["alarms"]}
    assert "not one of 30 matches got a verdict" in (tmp_path / "found.html").read_text()
    assert "exact" in out


def test_what_only_one_side_answers_is_counted(judge, tmp_path: Path) -> None:
    a = write_jsonl(tmp_path / "a.jsonl", rows(lambda n: GOOD, 4, reference="sound en-1"))
    b = write_jsonl(tmp_path / "b.jsonl", rows(lambda n: GOOD, 6)[2:])
    code, out, _ = judge(a, b, "--judge", "exact")
    assert code == 0
    assert "left out: a.jsonl: no answer: 4" in out
    assert "left out: b.jsonl: no answer: 2" in out


def test_sets_without_ids_are_joined_by_their_prompts(judge, tmp_path: Path) -> None:
    for name in "ab":
        found = [
            {k: v for k, v in row.items() if k != "id"} for row in rows(lambda n: GOOD, 3, reference="sound en-1")
        ]
        write_jsonl(tmp_path / f"{name}.jsonl", found[:: 1 if name == "a" else -1])
    code, out, _ = judge("a.jsonl", "b.jsonl", "--judge", "exact", "--json", "-")
    assert code == 0
    assert json.loads(out)["num_matches"] == 6
    assert json.loads(out)["judges"][0]["standings"][0]["reliability"]["num_identical"] == 6


@pytest.mark.parametrize("dropped", [("id",), ("id", "lang")])
def test_a_set_without_ids_meets_one_with_ids_by_its_prompts(judge, tmp_path: Path, dropped: tuple[str, ...]) -> None:
    found = rows(lambda n: GOOD, 8, reference="sound en-1")
    a = write_jsonl(tmp_path / "a.jsonl", [{k: v for k, v in row.items() if k not in dropped} for row in found])
    b = write_jsonl(tmp_path / "b.jsonl", found)
    code, out, _ = judge(a, b, "--judge", "exact", "--json", "-")
    assert code == 0
    assert (json.loads(out)["num_prompts"], json.loads(out)["num_matches"]) == (16, 16)
    assert json.loads(out)["lost"] == {}


def test_the_same_words_in_two_languages_stay_apart(judge, tmp_path: Path) -> None:
    found = rows(lambda n: GOOD, 4, reference="sound en-1")
    same = [
        row | {"question": row["question"].partition(": ")[2], "id": f"{row['lang']}-{row['id']}"} for row in found
    ]
    a = write_jsonl(tmp_path / "a.jsonl", [{k: v for k, v in row.items() if k != "id"} for row in same])
    b = write_jsonl(tmp_path / "b.jsonl", same)
    code, out, _ = judge(a, b, "--judge", "exact", "--json", "-")
    assert code == 0
    assert (json.loads(out)["num_matches"], json.loads(out)["lost"]) == (8, {})
    assert json.loads(out)["judges"][0]["standings"][0]["reliability"]["num_identical"] == 8


def test_a_plan_counts_the_calls_of_judges_and_models_and_makes_none(judge, sets, tmp_path: Path) -> None:
    equal = rows(lambda n: GOOD, 1)
    a = write_jsonl(tmp_path / "a.jsonl", [*equal, *rows(lambda n: GOOD, 9)[2:]])
    b = write_jsonl(tmp_path / "b.jsonl", [*equal, *rows(lambda n: BAD, 8)[2:]])
    with serve_beside(judge_behind(lambda first, second: "[[1]]")) as endpoint:
        pool = yaml.safe_load(write_pool(tmp_path / "teachers.yaml", endpoint.base_url, "critic").read_text())
        pool["teachers"][0]["cost"] = {
            "usd_per_million_prompt_tokens": 3,
            "usd_per_million_completion_tokens": 5,
        }
        (tmp_path / "teachers.yaml").write_text(yaml.safe_dump(pool))
        code, out, _ = judge(a, b, "--judge", "critic", "--judge", "exact", "--plan", "--json", "-")
        planned = json.loads(out)
        assert code == 0
        assert endpoint.bodies == []
        assert {(c["task"], c["teacher"], c["language"]): c["calls"] for c in planned} == {
            ("judge", "critic", "de"): 14,  # eight prompts, one of them answered alike, two orders
            ("judge", "critic", "en"): 14,
        }
        assert all(c["max_completion_tokens"] == 14 * 1024 for c in planned)
        assert all(
            c["max_cost_usd"] == pytest.approx((3 * c["prompt_tokens"] + 5 * 14 * 1024) / 1e6) for c in planned
        )
        assert not (tmp_path / "runs").exists()
        assert judge(a, b, "--judge", "critic")[0] == 0
        assert len(endpoint.bodies) == sum(c["calls"] for c in planned)
        characters = sum(len(body["messages"][-1]["content"]) for body in endpoint.bodies)
        assert 2 < characters / sum(c["prompt_tokens"] for c in planned) < 6
        code, out, _ = judge(a, "critic", "--judge", "exact", "--plan")
    assert code == 0
    assert "calls of a new run" in out
    assert "USD at most" in " ".join(out.split())
    assert "answer" in out


def test_ids_that_only_number_rows_join_nothing(judge, tmp_path: Path) -> None:
    a = write_jsonl(tmp_path / "a.jsonl", rows(lambda n: GOOD, 4))
    b = write_jsonl(tmp_path / "b.jsonl", [row | {"question": f"Another: {row['question']}"} for row in rows(str, 4)])
    code, _, err = judge(a, b, "--judge", "exact")
    assert code == 3
    assert "the id 'q0' stands for different prompts, 'en: what about 0?' and 'Another: en: what about 0?'" in err


@pytest.mark.model
def test_two_models_get_the_same_prompts(judge) -> None:
    options = ("--teachers", "demo:teachers.yaml", "--prompts", "world", "--set", "prompts.per_language=4")
    code, out, err = judge("commons", "iberia", *options, "--judge", "exact", "--json", "-")
    assert code == 0, err
    found = json.loads(out)
    assert (found["num_prompts"], found["num_matches"]) == (56, 16)
    assert found["lost"] == {"iberia: not sampled in the language": 40}
    net = found["judges"][0]["standings"][0]["net"]
    assert net["interval"]["low"] < net["value"] < net["interval"]["high"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.jsonl", "b.parquet"), "give at least one --judge"),
        (("a.jsonl", "a.jsonl", "--judge", "exact"), "both sides are a.jsonl"),
        (("a.jsonl", "none.jsonl", "--judge", "exact"), "none.jsonl: there is no such file or run"),
        (("ant", "bee", "--judge", "exact"), "ant and bee are models: give their prompts by --prompts"),
        (("a.jsonl", "b.parquet", "--judge", "critc"), "no teacher is named 'critc' (did you mean 'critic'?)"),
        (("a.jsonl", "b.parquet", "--judge", "score=x"), "expected a teacher's name, exact, reward=MODEL"),
        (("a.jsonl", "b.parquet", "--judge", "exact", "--judge", "exact"), "two judges are called 'exact'"),
        (("a.jsonl", "b.parquet", "--judge", "exact", "--column", "anser=x"), "did you mean 'answer'?"),
        (
            ("a.jsonl", "b.parquet", "--judge", "exact", "--column", "b.answer=x"),
            "has no column 'x' for --column answer=x",
        ),
        (("a.jsonl", "b.parquet#sft", "--judge", "exact"), "no row is by 'sft'; there are None"),
        (("a.jsonl", "b.parquet", "--judge", "exact", "--labels", "people.jsonl"), "the winner 'C' is not one of"),
        (("a.jsonl", "noise.jsonl", "--judge", "exact"), "none of the first 1 rows can be read"),
    ],
)
def test_mistakes_are_sentences(judge, sets, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    write_pool(tmp_path / "teachers.yaml", "http://127.0.0.1:9/v1", "critic")
    write_jsonl(tmp_path / "people.jsonl", [{"id": "q1", "winner": "C"}])
    (tmp_path / "noise.jsonl").write_bytes(b"\x00\xff garbage\n")
    code, _, err = judge(*arguments)
    assert code in (2, 3)
    assert message in err
    assert "Traceback" not in err


def test_labels_that_meet_nothing_are_an_error(judge, sets, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", rows(lambda n: GOOD, reference=GOOD))
    people = write_jsonl(tmp_path / "people.jsonl", [{"id": "other", "winner": "a"}])
    code, _, err = judge(*sets, "--judge", "exact", "--labels", people)
    assert code == 3
    assert "none of 1 labels belongs to a match" in err


def test_rows_of_all_sorts_are_left_out_and_counted(judge, tmp_path: Path) -> None:
    good = [
        {"id": n, "prompt": f"q {n}", "answer": "right", "language": "en", "reference": "right"} for n in range(6)
    ]
    odd = [
        {"id": 0, "answer": None},
        {"id": 1, "answer": 5},
        {"id": 2, "answer": [{"role": "user", "content": "no answer"}]},
        {"id": 3, "answer": "half a pair: \ud83d"},
        {"id": 4, "answer": "right", "language": "no language at all"},
        {"id": 5, "answer": "right"},
        {"id": None, "answer": "to what?"},
    ]
    a = write_jsonl(tmp_path / "a.jsonl", good)
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in odd) + "not JSON\n[1]\n")
    code, out, err = judge(a, "b.jsonl", "--judge", "exact", "--json", "-")
    assert code == 0, err
    found = json.loads(out)
    assert (found["num_prompts"], found["num_matches"]) == (6, 3)
    assert found["lost"] == {
        "b.jsonl: no answer": 3,
        "b.jsonl: rows that cannot be read": 2,
        "b.jsonl: rows without a response": 3,
        "b.jsonl: rows without an id or a prompt": 1,
    }


def test_a_directory_may_be_a_side(judge, sets, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data" / "more.jsonl", rows(lambda n: GOOD, reference=GOOD))
    _, _, err = judge(sets[0], ".", "--judge", "exact")
    assert "Traceback" not in err
    assert judge(sets[0], "data", "--judge", "exact")[0] == 0


def test_a_language_that_one_set_leaves_open_is_not_guessed(judge, tmp_path: Path) -> None:
    a = write_jsonl(tmp_path / "a.jsonl", rows(lambda n: GOOD, 2))
    silent = [{k: row[k] for k in ("id", "answer")} for row in rows(lambda n: BAD, 2)]
    b = write_jsonl(tmp_path / "b.jsonl", silent)
    code, _, err = judge(a, b, "--judge", "exact")
    assert code == 3
    assert "stands for 2 languages in one data set and for none in the other" in err


@pytest.mark.browser
def test_the_page_fits_and_makes_no_requests(judge, sets, tmp_path: Path) -> None:
    require_chromium()
    write_jsonl(tmp_path / "judge.yaml", [{"kind": "reward", "reward": {"kind": "fake", "per_character": 0.1}}])
    assert judge(*sets, "--judge", "judge.yaml", "--html", "page.html")[0] == 0
    with chromium(tmp_path / "chromium") as driver:
        driver.get((tmp_path / "page.html").as_uri())
        requests_of(driver)  # what the browser itself asks when it starts
        driver.get((tmp_path / "page.html").as_uri())
        assert driver.get_log("browser") == []
        assert [url for url in requests_of(driver) if not url.startswith(("file:", "data:"))] == []
        assert "Reliability of this judge" in driver.find_element("tag name", "main").text
        resize(driver, 390)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390


def alarms_in(out: str) -> dict[str, str]:
    """Return kind → sentence of the alarms of a judgement printed as JSON."""
    return {alarm["kind"]: f"{alarm['what']}: {alarm['detail']}" for alarm in json.loads(out)["alarms"]}


def test_a_fair_judge_raises_no_alarm(judge, sets, tmp_path: Path) -> None:
    with serve_beside(judge_behind(prefers(lambda text: GOOD in text))) as endpoint:
        write_pool(tmp_path / "teachers.yaml", endpoint.base_url, "critic")
        code, out, _ = judge(*sets, "--judge", "critic", "--json", "-")
    assert (code, json.loads(out)["alarms"]) == (0, [])


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("Hm. [[tie]]", {"constant_scores": "judge critic: 80 of 80 verdicts are ties"}),
        (
            "Hm. [[1]]",
            {
                "position_bias": "judge critic: 80 of 80 verdicts name the response shown first",
                "inconsistent": "judge critic: the two orders contradict each other on 40 of 40 matches",
            },
        ),
    ],
)
def test_a_judge_that_always_says_the_same_raises_an_alarm(
    judge, sets, tmp_path: Path, verdict: str, expected: dict[str, str]
) -> None:
    with serve_beside(judge_behind(lambda first, second: verdict)) as endpoint:
        write_pool(tmp_path / "teachers.yaml", endpoint.base_url, "critic")
        code, out, _ = judge(*sets, "--judge", "critic", "--json", "-")
        found = alarms_in(out)
        assert code == 0
        assert found.keys() == expected.keys()
        assert all(found[kind].startswith(sentence) for kind, sentence in expected.items())
        _, shown, _ = judge(*sets, "--judge", "critic", "--html", "out.html")
    for sentence in expected.values():
        assert f"ALARM {sentence}" in shown
        assert sentence.partition(": ")[2] in (tmp_path / "out.html").read_text()


def test_a_judge_that_repeats_its_instruction_gives_no_verdict(judge, sets, tmp_path: Path) -> None:
    async def parrot(body: dict[str, Any], number: int) -> Any:
        question = body["messages"][-1]["content"]
        fair = await judge_behind(prefers(lambda text: GOOD in text))(body, number)
        return fair if "-3" in question else answer(question.rpartition("\n\n")[2])

    with serve_beside(parrot) as endpoint:
        write_pool(tmp_path / "teachers.yaml", endpoint.base_url, "critic")
        code, out, _ = judge(*sets, "--judge", "critic", "--json", "-")
    assert code == 0
    assert alarms_in(out)["unreadable"].startswith(
        "judge critic: 76 of 80 replies hold no verdict (echoed_instruction 76); worst in "
    )
    assert json.loads(out)["judges"][0]["standings"][0]["reliability"]["num_failed"] == 38


def test_a_judge_that_fails_in_one_language_is_named_with_it(judge, tmp_path: Path) -> None:
    for name, text in (("a", GOOD), ("b", BAD)):
        write_jsonl(tmp_path / f"{name}.jsonl", [r for r in rows(lambda n, t=text: t, 200) if r["lang"] == "en"]
                   + [r for r in rows(lambda n, t=text: t, 10) if r["lang"] == "de"])  # fmt: skip

    def say(first: str, second: str) -> str:
        return "Ich weiß nicht." if "de-" in first else prefers(lambda text: GOOD in text)(first, second)

    with serve_beside(judge_behind(say)) as endpoint:
        write_pool(tmp_path / "teachers.yaml", endpoint.base_url, "critic")
        _, out, _ = judge("a.jsonl", "b.jsonl", "--judge", "critic", "--json", "-")
    assert alarms_in(out) == {
        "unreadable": "judge critic: many replies hold no verdict in German (20 of 20) (no_verdict 20)"
    }


def test_answers_too_long_for_the_judge_are_rejected_counted_and_said(judge, sets, tmp_path: Path) -> None:
    async def small(body: dict[str, Any], number: int) -> Any:
        if "en-1" in body["messages"][-1]["content"]:
            error = {
                "message": "This model's maximum context length is 512 tokens.",
                "code": "context_length_exceeded",
            }
            return web.json_response({"error": error}, status=400)
        return await judge_behind(prefers(lambda text: GOOD in text))(body, number)

    with serve_beside(small) as endpoint:
        write_pool(tmp_path / "teachers.yaml", endpoint.base_url, "critic")
        code, out, _ = judge(*sets, "--judge", "critic", "--json", "-")
    assert code == 0
    assert alarms_in(out) == {
        "unreadable": "judge critic: 22 of 80 replies hold no verdict (no_reply: prompt_too_long 22); worst in "
        "English (22 of 40); read some of them, or use another model"
    }


def test_two_judges_that_do_not_agree_raise_an_alarm(judge, sets, tmp_path: Path) -> None:
    def coin(text: str) -> bool:
        return hashlib.sha256(text.encode()).digest()[0] % 2 == 0

    with (
        serve_beside(judge_behind(prefers(lambda text: GOOD in text))) as fair,
        serve_beside(judge_behind(prefers(coin))) as other,
    ):
        write_pool(tmp_path / "one.yaml", fair.base_url, "critic")
        write_pool(tmp_path / "two.yaml", other.base_url, "coin")
        pools = [yaml.safe_load((tmp_path / name).read_text())["teachers"] for name in ("one.yaml", "two.yaml")]
        (tmp_path / "teachers.yaml").write_text(yaml.safe_dump({"teachers": [*pools[0], *pools[1]]}))
        _, out, _ = judge(*sets, "--judge", "critic", "--judge", "coin", "--json", "-")
    assert "no_agreement" in alarms_in(out)
