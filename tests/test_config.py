"""Config errors are sentences that name file, key, value found and values allowed; overrides go where they say."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from arbitrage.config import Config, LanguageTag, Operational, override, parse, parse_both
from arbitrage.errors import ConfigError
from arbitrage.selection.mix import QuotaConfig
from arbitrage.yaml_text import load_yaml


class Apple(Config):
    kind: Literal["apple"]
    size: float = Field(default=1.0, gt=0)


class Pear(Config):
    kind: Literal["pear"]
    colour: Literal["green", "yellow"] = "green"


class Bowl(Config):
    name: str
    fruit: Annotated[Apple | Pear, Field(discriminator="kind")]
    languages: tuple[LanguageTag, ...] = ()
    nested: tuple[Apple, ...] = ()
    workers: Annotated[int, Operational] = 1


def error_of(raw: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(raw, Bowl, "bowl.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (
            {"name": "b", "fruit": {"kind": "appel"}},
            "bowl.yaml: fruit.kind: 'appel' is not one of apple, pear (did you mean 'apple'?)",
        ),
        (
            {"name": "b", "fruit": {"kind": "pear", "colour": "gren"}},
            "bowl.yaml: fruit.colour: \"gren\" is not one of green, yellow (did you mean 'green'?)",
        ),
        ({"name": "b", "fruit": {"kind": "pear", "clour": "green"}}, "bowl.yaml: fruit.clour: is not a known key"),
        ({"fruit": {"kind": "pear"}}, "bowl.yaml: name: is missing"),
        ({"name": "b", "fruit": {}}, "bowl.yaml: fruit.kind: is missing"),
        (
            {"name": "b", "fruit": {"kind": "pear"}, "languages": ["en", "zh_TW"]},
            "bowl.yaml: languages[1]: 'zh_TW' is not a BCP-47 tag (did you mean 'zh-TW'?) (found \"zh_TW\")",
        ),
        (
            {"name": "b", "fruit": {"kind": "pear"}, "nested": [{"kind": "apple", "size": -1}]},
            "bowl.yaml: nested[0].size: input should be greater than 0 (found -1)",
        ),
        (
            {"name": 3, "fruit": {"kind": "pear"}},
            "bowl.yaml: name: input should be a valid string (found 3)",
        ),
    ],
)
def test_errors_say_what_where_found_and_wanted(raw: dict[str, object], sentence: str) -> None:
    assert error_of(raw) == sentence


def test_every_problem_is_told_at_once() -> None:
    assert len(error_of({"name": 3, "fruit": {"kind": "pear", "x": 1}}).splitlines()) == 2


def test_overrides_reach_into_mappings_and_lists() -> None:
    raw = {"a": {"b": 1}, "c": [{"d": 1}, {"d": 2}]}
    found = override(raw, ["a.b=2", "c.1.d=x", "new.key=[1, 2]", "c.2={d: 3}"])
    assert found == {"a": {"b": 2}, "c": [{"d": 1}, {"d": "x"}, {"d": 3}], "new": {"key": [1, 2]}}
    assert raw == {"a": {"b": 1}, "c": [{"d": 1}, {"d": 2}]}


@pytest.mark.parametrize("assignment", ["novalue", "c.9.d=1", "a.b.c=1", "=1"])
def test_overrides_that_lead_nowhere_are_refused(assignment: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        override({"a": {"b": 1}, "c": [{"d": 1}]}, [assignment])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\na: 2\n", "the key 'a' is given twice"),
        (b"a: [1\n", "is not valid YAML"),
        (b"- 1\n", "expected a mapping"),
        (b"\xff\xfe\x00", "is not UTF-8"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=f"x.yaml.*{message}"):
        load_yaml(tmp_path / "x.yaml")


def test_norwegian_is_a_language_and_off_a_word(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("languages: [no, en, on]\ngate: off\nyes: y\ncheck: true\n")
    wanted = {"languages": ["no", "en", "on"], "gate": "off", "yes": "y", "check": True}
    assert load_yaml(tmp_path / "x.yaml") == wanted
    assert override({}, ["gate=off", "language=no"]) == {"gate": "off", "language": "no"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_yaml(tmp_path / "gone.yaml")


def test_operational_fields_are_no_part_of_the_identity() -> None:
    one, two = (Bowl(name="b", fruit=Apple(kind="apple"), workers=w) for w in (1, 2))
    assert one.identity() == two.identity()
    assert "workers" not in one.identity()
    assert one.identity() != Bowl(name="c", fruit=Apple(kind="apple")).identity()


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("*.jsonl", "*.jsonl"),
        ("my #1.jsonl", "my #1.jsonl"),
        ("4 #1", "4 #1"),
        ("true #1", "true #1"),
        ("[v2]/a.jsonl", "[v2]/a.jsonl"),
        ("{en,de}.jsonl", "{en,de}.jsonl"),
        ("[a] #b.jsonl", "[a] #b.jsonl"),
        ("CC-BY: see notes", "CC-BY: see notes"),
        ("- a", "- a"),
        ("!x", "!x"),
        ("&a", "&a"),
        ("!!int 5", "!!int 5"),
        ("| a", "| a"),
        ("%d", "%d"),
        ("a\\b", "a\\b"),
        ("C:\\data", "C:\\data"),
        ('"007"', "007"),
        ("'a #1'", "a #1"),
        ("[1, b]", [1, "b"]),
        ("{n: 4}", {"n": 4}),
        ("0.5", 0.5),
        ("4", 4),
        ("true", True),
        ("null", None),
        ("", None),
    ],
)
def test_a_value_of_an_override_is_no_more_than_it_is_written_as(written: str, value: object) -> None:
    found = override({}, [f"key={written}"])["key"]
    assert found == value
    assert isinstance(found, type(value))


def test_a_field_of_text_takes_a_number_as_it_was_written() -> None:
    raw = override({"fruit": {"kind": "pear"}}, ["name=007"])
    config, values = parse_both(raw, Bowl, "bowl.yaml")
    assert (config.name, values["name"]) == ("007", "007")
    assert parse(override(raw, ["name=1e5", "fruit={kind: apple, size: 2}"]), Bowl, "").name == "1e5"


def test_a_number_that_is_wrong_as_text_too_is_reported_as_the_number() -> None:
    raw = override({"name": "b", "fruit": {"kind": "apple"}}, ["fruit.size=-1"])
    with pytest.raises(ConfigError, match=r"fruit.size: input should be greater than 0 \(found -1\)"):
        parse(raw, Bowl, "bowl.yaml")


def test_text_that_is_not_utf_8_is_named() -> None:
    raw = override({"fruit": {"kind": "pear"}}, ["name=a\udcff"])
    with pytest.raises(ConfigError, match=r"bowl.yaml: name: is not UTF-8 text"):
        parse(raw, Bowl, "bowl.yaml")


class Locked(Config):
    api_key_env: Annotated[str, Field(pattern="^[A-Z_]+$")] = "KEY"
    headers: dict[str, Annotated[str, Field(pattern="^[A-Z_]+$")]] = {}
    password: Annotated[str, Field(max_length=3)] = ""
    url: Annotated[str, Field(max_length=3)] = ""


@pytest.mark.parametrize(
    "raw",
    [
        {"api_key_env": "sk-hush"},
        {"headers": {"Authorization": "Bearer sk-hush"}},
        {"password": "sk-hush"},
        {"url": "https://me:sk-hush@host/v1"},
        {"api_key": "sk-hush"},
    ],
)
def test_secrets_in_the_wrong_place_are_not_repeated(raw: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(raw, Locked, "x.yaml")
    assert "hush" not in str(caught.value)


def test_an_override_that_leads_nowhere_does_not_repeat_a_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        override({"a": 1}, ["a.api_key.b=sk-hush"])
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(("written", "tag"), [("arb", "ar"), ("en-Latn", "en"), ("iw", "he"), ("ZH-hant", "zh-Hant")])
def test_a_language_in_a_config_has_one_tag_however_it_is_written(written, tag):
    assert parse(
        {"name": "b", "fruit": {"kind": "pear", "colour": "green"}, "languages": [written]}, Bowl, "b"
    ).languages == (tag,)


def test_two_spellings_of_a_language_are_not_two_entries_of_a_table():
    with pytest.raises(ConfigError, match=r"languages: .*'cmn' and 'zh' are one language \('zh'\)"):
        parse({"languages": {"cmn": 3, "zh": 4}}, QuotaConfig, "quotas.yaml")
