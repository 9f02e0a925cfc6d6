"""Choose an output of a sequence classifier: there is no default if the model has several."""

from typing import Any

from arbitrage.errors import EngineStartError


def label_of(wanted: int | str | None, model_config: Any, *, owner: str, model: str) -> int:
    """Return the number of the wanted label.

    Args:
        wanted: its number or its name in the model's config; None if the model has only one.
        model_config: of transformers.
        owner: beginning of the error message.
        model: the model's reference.

    Raises:
        EngineStartError: the model has several and none is named, or it has no such label.
    """
    names = label_names(model_config)
    if wanted is None and len(names) == 1:
        return 0
    if isinstance(wanted, str) and names.count(wanted) == 1:
        return names.index(wanted)
    if isinstance(wanted, int) and wanted < len(names):
        return wanted
    known = ", ".join(f"{number} ({name})" for number, name in enumerate(names[:20]))
    more = ", …" if len(names) > 20 else ""
    problem = "no label is given" if wanted is None else f"label {wanted!r} is none of its labels"
    raise EngineStartError(
        f"{owner}: {model} has {len(names)} labels and {problem}: set `label` to one of {known}{more}"
        if names
        else f"{owner}: {model} has no labels: it is not a sequence classifier"
    )


def label_names(model_config: Any) -> list[str]:
    """Return the names of a model's outputs, in order; LABEL_0, LABEL_1, … if the config has none."""
    number = getattr(model_config, "num_labels", None)
    names = [f"LABEL_{i}" for i in range(number if isinstance(number, int) else 0)]
    stated = getattr(model_config, "id2label", None)
    for key, name in stated.items() if isinstance(stated, dict) else ():
        if str(key).isdecimal() and int(key) < len(names):
            names[int(key)] = str(name)
    return names
