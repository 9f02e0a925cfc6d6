"""Spans that translations keep: found, masked, restored, compared; no text takes long."""

import pytest

from arbitrage.translation.spans import first_change, has_words, mask, spans_in


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("Call `run(x)` for {name} at https://a.example/b?c=1.", ["`run(x)`", "{name}", "https://a.example/b?c=1"]),
        ("Mail me@example.org, or www.example.org!", ["me@example.org", "www.example.org"]),
        ("<b>Bold</b> and <0>one</0>", ["<b>", "</b>", "<0>"]),
        ("%s of %(total)d, %1$s, 50 % sure, 100% sure", ["%s", "%(total)d", "%1$s"]),
        (r"Solve $x^2 = 4$ and \(y\), for $5 or $6", ["$x^2 = 4$", r"\(y\)"]),
        ('{"name": "Ann", "is_old": true}', ['"name"', '"is_old"']),
        ('He said "yes": nothing to keep', []),
        ("النص `a b` هنا", ["`a b`"]),
        ("${HOME} and {{user.name}}", ["${HOME}", "{{user.name}}"]),
    ],
)
def test_spans_are_found(text: str, spans: list[str]) -> None:
    assert spans_in(text) == spans


def test_masked_spans_come_back_in_any_order() -> None:
    masked = mask("Set {a} before {b} at https://x.example")
    assert masked.text == "Set ⟦1⟧ before ⟦2⟧ at ⟦3⟧"
    assert masked.restore("⟦3⟧: ⟦ 2 ⟧ nach ⟦1⟧") == "https://x.example: {b} nach {a}"


@pytest.mark.parametrize("reply", ["⟦1⟧ ⟦2⟧", "⟦1⟧ ⟦2⟧ ⟦2⟧ ⟦3⟧", "⟦1⟧ ⟦2⟧ ⟦3⟧ ⟦4⟧", "nothing"])
def test_a_lost_a_doubled_and_a_new_mark_are_faults(reply: str) -> None:
    assert mask("Set {a} before {b} at https://x.example").restore(reply) is None


def test_a_text_with_such_marks_of_its_own_is_not_masked() -> None:
    assert mask("⟦1⟧ and {a}").text == "⟦1⟧ and {a}"


def test_a_changed_span_is_named() -> None:
    assert first_change("See {a} and `b`", "Siehe `b` und {a}") is None
    assert first_change("See {a} and {a}", "Siehe {a}") == "{a}"
    assert first_change("See {a}", "Siehe {b} und {a}") == "{b}"
    assert first_change("Odwiedź https://a.example/x", "参照https://a.example/xを") is None


def test_a_text_of_spans_alone_has_no_words() -> None:
    assert not has_words("`code` https://a.example {x} 12 %")
    assert has_words("`code` is code")


@pytest.mark.parametrize("unit", ["$", "\\[ ", "{", "<a", "`", "%(", "http://", "a@", '"', "{{", "\\( "])
def test_hostile_texts_take_no_quadratic_time(unit: str) -> None:
    text = unit * (64_000 // len(unit))
    spans_in(text)
    mask(text)
