"""Tags, scripts, writing direction, families, and who can be asked in what."""

from importlib.resources import files

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from arbitrage.languages import (
    UNKNOWN,
    base_of,
    families,
    family_of,
    is_rtl,
    name_of,
    normalise_tag,
    primary,
    script_of,
    speaks,
    suggest_tag,
)

TABLE = yaml.safe_load((files("arbitrage") / "language_families.yaml").read_text(encoding="utf-8"))
SOME = "en pt pt-BR pt-PT zh zh-TW zh-CN zh-Hant zh-Hans sr sr-Latn sr-Cyrl nb no nn ar arb arz und hi-Latn"
TAGS = st.sampled_from([*SOME.split(" "), *sorted(tag for tags in TABLE.values() for tag in tags)[::9]])


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("zh_TW", "zh-TW"),
        ("ZH-hant-tw", "zh-Hant-TW"),
        ("eng", "en"),
        ("eng-US", "en-US"),
        (" pt_br ", "pt-BR"),
        ("sr-Latn", "sr-Latn"),
        ("srp-Cyrl", "sr-Cyrl"),
        ("iw", "he"),
        ("sh", "sr-Latn"),
        ("zho_Hans", "zh-Hans"),
        ("es-419", "es-419"),
        ("und", "und"),
    ],
)
def test_a_tag_is_brought_into_canonical_form(written, canonical):
    assert normalise_tag(written) == canonical
    assert normalise_tag(canonical) == canonical


@pytest.mark.parametrize(
    "text", ["xx", "zz", "english", "English", "", " ", "-", "en--US", "e n", "gsw-ZH", "ｅｎ", "en\ud800", "1"]
)
def test_what_is_no_tag_is_refused(text):
    assert normalise_tag(text) is None


@given(st.text(max_size=12))
def test_any_text_is_normalised_or_refused(text):
    tag = normalise_tag(text)
    assert tag is None or normalise_tag(tag) == tag
    suggested = suggest_tag(text)
    assert suggested is None or normalise_tag(suggested) is not None


@pytest.mark.parametrize(
    ("text", "tag"), [("english", "en"), ("German", "de"), ("gsw-ZH", "gsw"), ("pt_Brazil", "pt"), ("qwertz", None)]
)
def test_what_was_meant_is_suggested(text, tag):
    assert suggest_tag(text) == tag


@pytest.mark.parametrize("tag", ["ar", "he", "fa", "ur", "yi", "dv", "ps", "ug", "pa-PK", "ckb-Arab", "sd"])
def test_right_to_left(tag):
    assert is_rtl(tag)


@pytest.mark.parametrize("tag", ["en", "pa", "tr", "zh", "ja", "hi", "az", "und", "ar-Latn", "x-foo"])
def test_left_to_right(tag):
    assert not is_rtl(tag)


@pytest.mark.parametrize(
    ("tag", "script"),
    [
        ("zh", "Hans"),
        ("zh-TW", "Hant"),
        ("yue", "Hant"),
        ("sr", "Cyrl"),
        ("sr-Latn", "Latn"),
        ("ja", "Jpan"),
        ("th", "Thai"),
        ("und", "Zyyy"),
        ("und-Cyrl", "Cyrl"),
    ],
)
def test_scripts(tag, script):
    assert script_of(tag) == script


@pytest.mark.parametrize(
    ("tag", "family"),
    [
        ("pt-BR", "roa"),
        ("en", "gmw"),
        ("nb", "gmq"),
        ("nn-NO", "gmq"),
        ("uk", "zle"),
        ("sr-Latn", "zls"),
        ("cs", "zlw"),
        ("hi", "inc"),
        ("fa-AF", "ira"),
        ("arb", "sem"),
        ("he", "sem"),
        ("tr", "trk"),
        ("zu", "bnt"),
        ("ta", "dra"),
        ("cmn-Hans", "zhx"),
        ("yue", "zhx"),
        ("ja", "jpx"),
        ("th", "tai"),
        ("vi", "mkh"),
        ("zsm", "pqw"),
        ("fil", "phi"),
        ("tl", "phi"),
        ("hu", "fiu"),
        ("ko", UNKNOWN),
        (UNKNOWN, UNKNOWN),
    ],
)
def test_families(tag, family):
    assert family_of(normalise_tag(tag) or tag) == family


def test_the_table_of_families_is_sound():
    members = [tag for tags in TABLE.values() for tag in tags]
    assert len(members) == len(set(members)) >= 150
    assert all(isinstance(tag, str) for tag in members)  # an unquoted `no` is a boolean in YAML
    for family, tags in TABLE.items():
        assert name_of(family) not in (family, "")
        assert normalise_tag(family) == family
        assert all(normalise_tag(tag) == tag == primary(tag) == base_of(tag) for tag in tags)
        assert all(family_of(tag) == family for tag in tags)
    assert families() == frozenset(TABLE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pt", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("zh", "zh-TW"),
        ("zh", "zh-Hant"),
        ("zh-TW", "zh-Hant"),
        ("zh-TW", "zh-HK"),
        ("cmn", "zh"),
        ("nb", "no"),
        ("arb", "ar-EG"),
        ("sr", "sr-Latn"),
    ],
)
def test_who_declares_one_speaks_the_other(one, other):
    assert speaks(one, other)
    assert speaks(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pt", "es"),
        ("zh-Hans", "zh-Hant"),
        ("zh-CN", "zh-TW"),
        ("zh", "yue"),
        ("sr-Latn", "sr-Cyrl"),
        ("pa-PK", "pa-IN"),
        ("nb", "nn"),
        ("und", "und"),
        ("en", "und"),
    ],
)
def test_who_declares_one_does_not_speak_the_other(one, other):
    assert not speaks(one, other)
    assert not speaks(other, one)


@given(TAGS, TAGS)
def test_speaking_is_mutual_and_within_a_language(one, other):
    assert speaks(one, other) == speaks(other, one)
    assert speaks(one, one) == (base_of(one) != UNKNOWN)
    if speaks(one, other):
        assert family_of(one) == family_of(other)


def test_names_are_readable():
    assert name_of("pt-BR") == "Portuguese (Brazil)"
