"""What translators are sent, and what of their replies is taken."""

import pytest
from pydantic import ValidationError

from arbitrage.records import Candidate, FinishReason
from arbitrage.teachers.quoting import code_for
from arbitrage.translation.forms import InstructionForm, Job, TemplateForm

JOB = Job("Use `run` for {name}.", "en", "de")


def reply(text: str, finish: FinishReason = FinishReason.STOP) -> Candidate:
    return Candidate(
        candidate_id="c",
        prompt_id="p",
        teacher="t",
        revision="r",
        sample_index=0,
        seed=0,
        text=text,
        finish_reason=finish,
    )


def test_an_instruction_names_languages_text_and_tags() -> None:
    tag = code_for("translation", JOB.text)
    message = InstructionForm().message(JOB)
    assert "from English into German" in message
    assert JOB.text in message
    assert message.endswith(f"between <{tag}> and </{tag}>.")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<{tag}>Nutze `run`.</{tag}>", None),
        ("\n< {tag} >\nNutze `run`.\n</ {tag} >\n", None),
        ("Nutze `run`.", "no_envelope"),
        ("Sure! <{tag}>Nutze `run`.</{tag}>", "text_around"),
        ("<{tag}>Nutze `run`.</{tag}> I hope this helps.", "text_around"),
        ("<{tag}>a</{tag}><{tag}>b</{tag}>", "text_around"),
    ],
)
def test_only_what_stands_between_the_tags_is_a_translation(text: str, fault: str | None) -> None:
    read = InstructionForm().read(reply(text.replace("{tag}", code_for("translation", JOB.text))), JOB)
    assert read.fault == fault
    assert read.text == ("" if fault else "Nutze `run`.")


def test_a_reply_that_ends_within_the_tags_is_cut_off() -> None:
    tag = code_for("translation", JOB.text)
    assert InstructionForm().read(reply(f"<{tag}>Nutze", FinishReason.LENGTH), JOB).fault == "truncated"


def test_a_template_masks_spans_and_takes_the_whole_reply() -> None:
    form = TemplateForm(template="<2{target_tag}> {text}", spans="mask")
    assert form.message(JOB) == "<2de> Use ⟦1⟧ for ⟦2⟧."
    assert form.read(reply("Nutze ⟦1⟧ für ⟦2⟧."), JOB).text == "Nutze `run` für {name}."
    assert form.read(reply("Nutze ⟦1⟧."), JOB).fault == "span_changed"


@pytest.mark.parametrize(
    ("template", "word"), [("{text} {langage}", "langage"), ("no text", "{text}"), ("{text", "no template")]
)
def test_a_wrong_template_is_an_error_that_names_it(template: str, word: str) -> None:
    with pytest.raises(ValidationError, match=word.replace("{", r"\{").replace("}", r"\}")):
        TemplateForm(template=template)
