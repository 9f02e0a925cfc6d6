"""Writes the measured tables of docs/steering.md from docs/steering.json."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.documents import between

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/steering.json"
DOCUMENT = ROOT / "docs/steering.md"
Found = Mapping[str, Any]

TITLES = {
    "words": "words, mean",
    "mtld": "MTLD, mean",
    "lists": "lines that are items of a list, %",
    "language_confusion": "text in its language, %",
    "code_switch": "text outside its main language, %",
}
SHARES = ("lists", "language_confusion", "code_switch")
OTHERS_SHOWN = 6


def store(part: str, found: Found) -> None:
    """Keep the figures of one part beside those of the others."""
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps(results | {part: found}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def render() -> None:
    """Write each part that has been measured between its marks."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    text = DOCUMENT.read_text(encoding="utf-8")
    parts: Mapping[str, tuple[str, Callable[[Found], str]]] = {
        "real": ("benchmarks/inheritance.py", real_part),
        "student": ("benchmarks/steering_student.py", student_part),
    }
    for name, (script, table) in parts.items():
        if name in results:
            text = between(text, name, script, table(results[name]))
    DOCUMENT.write_text(text, encoding="utf-8")


def real_part(found: Found) -> str:
    """Return the profile by language and model, and a table for each objective."""
    return "\n".join([_profile(found["profile"]), *(_steered(name, one) for name, one in found["steering"].items())])


def _profile(found: Found) -> str:
    lines = []
    for metric, means in found["means"].items():
        scale = 100.0 if metric in SHARES else 1.0
        lines += [
            f"| {TITLES[metric]} | {' | '.join(found['languages'])} |",
            "|---" * (len(found["languages"]) + 1) + "|",
        ]
        for teacher in found["teachers"]:
            cells = (_mean(means[teacher][language], scale) for language in found["languages"])
            lines.append(f"| {_short(teacher)} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _steered(name: str, found: Found) -> str:
    lines = [
        f"Steered to {name} (`{found['label']}`), {found['prompts']:,} prompts:",
        "",
        "| | all candidates | control | steered | steered − control | in deviations | reward − control |",
        "|---|---|---|---|---|---|---|",
    ]
    for language, shift in found["shifts"].items():
        means = " | ".join(_number(shift[which]) for which in ("before", "control", "steered"))
        reward = found["reward"].get(language, {}).get("difference")
        tag = f"**{language}**" if language == "all" else language
        differences = " | ".join(map(signed, (shift["difference"], shift["effect"], reward)))
        lines.append(f"| {tag} | {means} | {differences} |")
    moved = [
        f"`{other}` {signed(one['effect'])}" for other, one in found["others"].items() if _is_clear(one["effect"])
    ]
    more = f" and {len(moved) - OTHERS_SHOWN} more" if len(moved) > OTHERS_SHOWN else ""
    told = ", ".join(moved[:OTHERS_SHOWN]) + more if moved else "none clearly"
    return "\n".join([*lines, "", f"Moved besides, in deviations, of {len(found['others'])} metrics: {told}.", ""])


def student_part(found: Found) -> str:
    """Return what students answer that were trained on steered data, and whether the bound on accuracy holds."""
    lines = [
        f"{found['seeds']} seeds; {14 * found['asked']:,} held-out questions at most; each data set holds the same "
        f"prompts, {found['epochs']} epochs.",
        "",
        "| steered to | the student's answers | untrained | unsteered | control | steered | steered − control "
        "| steered − unsteered |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found["objectives"].values():
        for column, title in (("value", f"`{one['label'].partition(':')[0]}`, mean"), ("right", "right, share")):
            means = [one["untrained"][column], *(one[column][name] for name in ("unsteered", "control", "steered"))]
            differences = [one[f"{column}_steered_minus_{other}"] for other in ("control", "unsteered")]
            cells = [*(f"{mean:.3f}" for mean in means), *map(signed, differences)]
            lines.append(f"| `{one['label']}` | {title} | {' | '.join(cells)} |")
    lines += ["", "By seed, steered and control: " + "; ".join(map(_by_seed, found["objectives"].values())) + "."]
    kept = [one["right_steered_minus_control"] for one in found["objectives"].values()]
    holds = all(low is not None and low > -found["bound"] for _, low, _ in kept)
    lines += [
        "",
        f"The bound, stated beforehand: steering costs less than {100 * found['bound']:.0f} points of exact accuracy "
        f"against the control, by the lower end of the interval. It {'holds' if holds else 'does **not** hold'} for "
        f"{'all' if len(kept) > 1 else 'the objective'}.",
        "",
    ]
    return "\n".join(lines)


def _by_seed(one: Found) -> str:
    values, right = (
        ", ".join(
            f"{steered:.3f} / {control:.3f}" for steered, control in zip(by["steered"], by["control"], strict=True)
        )
        for by in (one["value_by_seed"], one["right_by_seed"])
    )
    return f"`{one['label']}` {values}; right {right}"


def signed(found: Sequence[float | None] | None) -> str:
    """Say a difference and its interval."""
    value, low, high = found or (None, None, None)
    if value is None:
        return "–"
    return _plus(value) + (f" [{_plus(low)}, {_plus(high)}]" if low is not None and high is not None else "")


def _plus(value: float) -> str:
    text = f"{value:+.0f}" if abs(value) >= 99.5 else f"{value:+.1f}" if abs(value) >= 9.95 else f"{value:+.2f}"
    return text.replace("-", "−") if float(text) else text[1:]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 99.5 else f"{value:.1f}" if abs(value) >= 9.95 else f"{value:.3f}"


def _mean(value: float | None, scale: float) -> str:
    return "–" if value is None else f"{value * scale:.0f}" if value * scale >= 9.95 else f"{value * scale:.1f}"


def _is_clear(effect: Sequence[float | None] | None) -> bool:
    if effect is None or effect[1] is None or effect[2] is None:
        return False
    return effect[1] > 0 or effect[2] < 0


def _short(teacher: str) -> str:
    return teacher.rpartition("__")[2]
