"""Find a model's chat template in its files, and choose one of several by name."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from arbitrage.models.loading import first_line

PROCESSOR_FILES = ("chat_template.jinja", "chat_template.json", "processor_config.json")
"""Files that transformers reads for a processor, and partly not for a tokenizer."""


class TemplateError(Exception):
    """The template cannot be used; the message is one sentence."""


def choose_template(found: object, wanted: object) -> str | None:
    """Return the template's source, or None if the model has none.

    Args:
        found: a source, or name → source, as in a tokenizer's `chat_template`.
        wanted: `template_options.chat_template`: the name of one of several, or the user's own source.

    Raises:
        TemplateError: there are several and none is the default, or no such name.
    """
    if isinstance(wanted, str) and ("{{" in wanted or "{%" in wanted):
        return wanted
    named = _named(found)
    if wanted is not None and (named is None or wanted not in named):
        has = f"has {_listed(named)}" if named else "has one template without a name" if found else "has none"
        raise TemplateError(f"template_options.chat_template is {wanted!r}, but the model {has}")
    if named is None:
        if found is not None and not isinstance(found, str):
            raise TemplateError(f"the chat template is of type {type(found).__name__}, not a text")
        return found or None
    source = named.get("default") if wanted is None else named[str(wanted)]
    if source is None:
        raise TemplateError(
            f"the model has {_listed(named)} and no 'default': choose one by template_options.chat_template"
        )
    return source


def _named(found: object) -> dict[str, str] | None:
    if isinstance(found, list | tuple):
        try:
            found = {each["name"]: each["template"] for each in found}
        except (TypeError, KeyError):
            raise TemplateError("the list of chat templates is not one of {name, template}") from None
    if not isinstance(found, Mapping):
        return None
    if wrong := [name for name, source in found.items() if not isinstance(source, str)]:
        raise TemplateError(f"the chat template '{wrong[0]}' is of type {type(found[wrong[0]]).__name__}, not a text")
    return {str(name): source for name, source in found.items()}


def _listed(named: Mapping[str, str]) -> str:
    return f"the chat templates {', '.join(sorted(named))}"


def processor_template(open_file: Callable[[str], Path | None]) -> object:
    """Return the template from a processor's files, if the tokenizer's own files have none.

    Args:
        open_file: name of a file of the model → its path on this machine, or None.

    Raises:
        TemplateError: such a file exists but cannot be read.
    """
    for name in PROCESSOR_FILES:
        path = open_file(name)
        if path is None:
            continue
        try:
            text = path.read_text(encoding="utf-8")
            found = text if path.suffix == ".jinja" else json.loads(text).get("chat_template")
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise TemplateError(f"{path}: cannot be read: {first_line(error)}") from error
        if found:
            return found
    return None
