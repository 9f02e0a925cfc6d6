"""YAML is read by the core schema of YAML 1.2: nothing is more than it is written as, and nothing can fill the memory."""

from pathlib import Path

import pytest

from arbitrage.errors import ConfigError
from arbitrage.yaml_text import MAX_DEPTH, WrittenInt, load_yaml, read_yaml


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("190:20:30.15", "190:20:30.15"),
        ("1_000", "1_000"),
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
        ("0b11", "0b11"),
        ("=", "="),
        ("+1.", 1.0),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-3", -3),
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("true", True),
        ("~", None),
        ("", None),
    ],
)
def test_scalars_are_those_of_the_core_schema(written: str, value: object) -> None:
    found = read_yaml(f"key: {written}\n")["key"]
    assert found == value
    assert isinstance(found, type(value))


def test_a_number_knows_how_it_was_written() -> None:
    found = read_yaml("007")
    assert isinstance(found, WrittenInt)
    assert (found, found.written) == (7, "007")


def test_keys_are_text_as_they_are_written() -> None:
    assert read_yaml("{no: 1, 007: 2, 2026-01-31: 3, true: 4, ~: 5}") == {
        "no": 1,
        "007": 2,
        "2026-01-31": 3,
        "true": 4,
        "~": 5,
    }


def test_a_merged_mapping_may_be_overridden_and_used_again() -> None:
    text = """
    one: &base {temperature: 0.7, top_p: 0.9}
    two: &warm
      <<: *base
      temperature: 1.0
    three:
      top_p: 0.5
      <<: [*warm, {n: 2, top_p: 0.1}]
    four: *warm
    """
    found = read_yaml(text)
    assert found["two"] == found["four"] == {"temperature": 1.0, "top_p": 0.9}
    assert found["three"] == {"temperature": 1.0, "top_p": 0.5, "n": 2}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2\n", "line 2, column 1: the key 'a' is given twice"),
        ("b: {<<: {a: 1}, <<: {c: 1}}", "'<<' is given twice; one `<<: "),
        ("a: &x {b: 1, b: 2}\nc: *x", "the key 'b' is given twice"),
        ("a: [1", "line 1, column"),
        ("? [1]\n: 2\n", "a key must be text"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: !!int x", "'x' is no integer"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("a: *gone", "undefined alias"),
        ("a: &x [*x]", "an alias stands within what it names"),
        ("a: &x {b: {<<: *x}}", "an alias stands within what it names"),
        ("a: \x07", "U\\+0007, which YAML does not allow"),
        ("a: " + "9" * 5000, "is no integer"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_that_says_where(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        read_yaml(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "a:\n"])
def test_deep_nesting_is_refused_before_it_costs_anything(opening: str) -> None:
    text = "".join("  " * k + "a:\n" for k in range(200)) if opening == "a:\n" else opening * 100_000
    with pytest.raises(ValueError, match=f"more than {MAX_DEPTH} levels of nesting"):
        read_yaml(text)


@pytest.mark.parametrize(
    "use", ["[*a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}]", "{{x: *a{0}, y: *a{0}, z: *a{0}, w: *a{0}}}"]
)
def test_aliases_that_expand_to_too_much_are_refused(use: str) -> None:
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8]", *(f"a{k}: &a{k} {use.format(k - 1)}" for k in range(1, 20))]
    with pytest.raises(ValueError, match="aliases expand to more than 1,000,000 values"):
        read_yaml("\n".join(lines))


def test_merges_that_expand_to_too_much_are_refused() -> None:
    lines = ["a0: &a0 {" + ", ".join(f"k{i}: 1" for i in range(50)) + "}"]
    lines += [f"a{k}: &a{k} {{<<: [*a{k - 1}, *a{k - 1}, *a{k - 1}, *a{k - 1}], n{k}: 1}}" for k in range(1, 20)]
    with pytest.raises(ValueError, match="expand to more than"):
        read_yaml("\n".join(lines))


def test_a_chain_of_aliases_counts_as_deep_as_it_is_written_out() -> None:
    lines = ["a0: &a0 [1]", *(f"a{k}: &a{k} [*a{k - 1}]" for k in range(1, 500))]
    with pytest.raises(ValueError, match="aliases expand to more than 64 levels"):
        read_yaml("\n".join(lines))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a: 1\n".encode("utf-16"), "is not UTF-8 text"),
        (b"a: \xff\n", "is not UTF-8 text"),
        (b"- 1\n", "expected a mapping of keys to values, found list"),
        (b"7\n", "expected a mapping of keys to values, found int"),
        (b"", "found nothing"),
        (b"\0", "U\\+0000"),
    ],
)
def test_files_that_are_no_configs_are_named(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=f"x.yaml: .*{problem}"):
        load_yaml(tmp_path / "x.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes("a: 1\r\nb: 2\r\n".encode("utf-8-sig"))
    assert load_yaml(tmp_path / "x.yaml") == {"a": 1, "b": 2}


def test_a_path_no_file_can_have_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(Path("a\0b.yaml"))


def test_a_file_larger_than_any_config_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.yaml").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ConfigError, match="larger than 16 MiB"):
        load_yaml(tmp_path / "x.yaml")
