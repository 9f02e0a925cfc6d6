"""Tags, scripts, writing direction, families, and who can be asked in what."""

from importlib.resources import files

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from langcodes.data_dicts import LANGUAGE_REPLACEMENTS, LIKELY_SUBTAGS, NORMALIZED_MACROLANGUAGES

from arbitrage.languages import (
    UNKNOWN,
    base_of,
    families,
    family_of,
    is_rtl,
    name_of,
    normalise_tag,
    primary,
    read_language,
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
        ("ZH-hant-tw", "zh-TW"),
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


SPELLINGS = """
en: eng eng_Latn en-Latn EN en_Latn en-u-nu-latn en-ZZ
en-GB: eng_GB en_GB.UTF-8 en-UK en-Latn-GB
de-DE: de_DE de_DE@euro de_DE.UTF-8@euro de_DE.ISO8859-15 deu-Latn-DE de-DE-u-co-phonebk
zh: zho chi cmn zh-cmn zh-Hani
zh-Hans: zho_Hans cmn_Hans zh_Hans zh-cmn-Hans zh-CHS
zh-Hant: zho_Hant cmn-Hant zh-CHT
zh-CN: zh_CN zh-Hans-CN cmn-CN zh_CN.GB18030
zh-TW: zh-Hant-TW zh_TW.UTF-8
yue: zh-yue yue_Hant
nan: zh-min-nan
ar: arb arb_Arab ara ar-Arab
ar-EG: arb-EG ar_EG.UTF-8
et: ekk ekk_Latn est
lv: lvs lvs_Latn lav
ne: npi npi_Deva nep
or: ory ory_Orya ori
sw: swh swh_Latn swa
ms: zsm zsm_Latn zlm may msa
mn: khk khk_Cyrl mon mn-Cyrl
fa: pes pes_Arab fas per
fa-AF: prs prs_Arab
sq: als als_Latn alb sqi
ps: pbt pbt_Arab pbu pus
ku: kmr kmr_Latn ku-Latn
fil: tl tgl tgl_Latn
he: iw heb he-Hebr
id: in ind
yi: ji ydd ydd_Hebr
ro: mo mol ron rum
no: nor
nb: nob nob_Latn no-bok
nn: nno
sr: srp scc
sr-Cyrl: srp_Cyrl
sr-Latn: sh hbs srp_Latn sr@latin
sr-Latn-RS: sr_RS@latin sr_RS.UTF-8@latin
sr-ME: cnr
uz: uzn uzn_Latn uz-Latn
uz-Cyrl: uzn_Cyrl uz@cyrillic
kk: kaz kk-Cyrl kaz_Cyrl
kk-Latn: kaz_Latn
mn-Mong: mon_Mong
pa: pan pan_Guru pa-Guru
pa-PK: pa-Arab-PK
ko: kor kor_Hang ko-Kore
ja: jpn jpn_Jpan
az: azj azj_Latn
azb: azb_Arab
acm: acm_Arab ar-acm
ur: ur-Aran urd_Arab
tlh: i-klingon
ca-ES-valencia: ca_ES@valencia
en-GB-oxendict: en-GB-oed
zxx: zxx_Latn
und: und-Latn root
"""


@pytest.mark.parametrize(
    ("canonical", "spellings"), [line.split(": ") for line in SPELLINGS.strip().splitlines()], ids=lambda text: text
)
def test_a_language_has_one_tag_however_it_is_written(canonical, spellings):
    assert {spelling: normalise_tag(spelling) for spelling in [canonical, *spellings.split()]} == dict.fromkeys(
        [canonical, *spellings.split()], canonical
    )


@pytest.mark.parametrize(
    "tag", ["sr-Latn", "uz-Cyrl", "mn-Mong", "pa-Arab", "kk-Latn", "kk-Arab", "hi-Latn", "zh-Hans", "zh-Hant"]
)
def test_a_script_that_says_something_stays(tag):
    assert normalise_tag(tag) == tag


@pytest.mark.parametrize("tags", ["no nb nn", "ar arz ary apc", "zh yue nan wuu", "ku ckb", "fa fa-AF", "hr bs sr"])
def test_languages_of_their_own_stay_apart(tags):
    assert [normalise_tag(tag) for tag in tags.split(" ")] == tags.split(" ")


def test_no_other_spelling_of_a_language_is_another_language():
    """Every alias, macrolanguage and likely script of CLDR."""
    for alias, language in LANGUAGE_REPLACEMENTS.items():
        assert normalise_tag(alias) == normalise_tag(language), alias
    for individual, macro in NORMALIZED_MACROLANGUAGES.items():
        assert normalise_tag(individual) == normalise_tag(macro), individual
    for short, full in LIKELY_SUBTAGS.items():
        language, script, _ = full.split("-")
        if short.isalpha() and language not in ("zh", "sr", "und") and normalise_tag(language) == language:
            assert normalise_tag(f"{language}_{script}") == normalise_tag(language), full


SUBTAGS = st.sampled_from(
    [
        "en",
        "eng",
        "arb",
        "cmn",
        "zh",
        "sr",
        "hbs",
        "mol",
        "iw",
        "x",
        "i",
        "klingon",
        "Latn",
        "Cyrl",
        "Hans",
        "Hant",
        "Arab",
        "Hang",
        "US",
        "TW",
        "419",
        "ZZ",
        "1996",
        "valencia",
        "u",
        "co",
        "t",
    ]
)


@given(
    st.lists(SUBTAGS, min_size=1, max_size=5), st.sampled_from("-_"), st.booleans(), st.sampled_from(["", ".UTF-8"])
)
def test_a_canonical_tag_is_its_own(subtags, separator, is_upper, ending):
    written = separator.join(subtags)
    tag = normalise_tag((written.upper() if is_upper else written) + ending)
    assert tag == normalise_tag(written)
    assert tag is None or normalise_tag(tag) == tag


MISLABELS = [
    "ua",
    "UA",
    "jp",
    "cz",
    "gr",
    "dk",
    "cn",
    "vn",
    "sp",
    "english",
    "Englisch",
    "Français",
    "deutsch",
    "unknown",
    "n/a",
    "None",
    "null",
    "NaN",
    "multi",
    "other",
]


@pytest.mark.parametrize(
    "text",
    [*MISLABELS, "English, German", "en,de", "en/de", "en de", "English and German", "Brazilian", "en-USA", "C"],
)
def test_a_guess_is_never_taken_for_the_value(text):
    assert read_language(text) is None


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("eng-US", "en-US"),
        ("English", "en"),
        ("français", "fr"),
        ("Deutsch", "de"),
        ("日本語", "ja"),
        ("русский", "ru"),
        ("Simplified Chinese", "zh-Hans"),
        ("Chinese (Traditional)", "zh-Hant"),
        ("Standard Arabic", "ar"),
        ("Iranian Persian", "fa"),
        ("Portuguese (Brazil)", "pt-BR"),
        ("Serbian (Latin)", "sr-Latn"),
        ("Norwegian Bokmål", "nb"),
    ],
)
def test_exact_names_are_read(text, tag):
    assert read_language(text) == tag


@pytest.mark.parametrize(
    ("code", "tag"), [("ua", "uk"), ("jp", "ja"), ("cz", "cs"), ("gr", "el"), ("dk", "da"), ("cn", "zh")]
)
def test_who_writes_a_country_is_told_its_language(code, tag):
    assert suggest_tag(code) == tag


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
    assert suggested is None or normalise_tag(suggested) == suggested
    assert read_language(text) is None or normalise_tag(read_language(text)) == read_language(text)


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
def test_a_declared_language_covers_the_other(one, other):
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
def test_a_declared_language_does_not_cover_the_other(one, other):
    assert not speaks(one, other)
    assert not speaks(other, one)


@given(TAGS, TAGS)
def test_coverage_is_mutual_and_within_a_language(one, other):
    assert speaks(one, other) == speaks(other, one)
    assert speaks(one, one) == (base_of(one) != UNKNOWN)
    if speaks(one, other):
        assert family_of(one) == family_of(other)


def test_names_are_readable():
    assert name_of("pt-BR") == "Portuguese (Brazil)"
