"""The text of a data set card: content, teachers, licences, selection and cost."""

from collections.abc import Iterator, Mapping, Sequence

import yaml

from arbitrage.export.reading import CANDIDATES, count_candidates
from arbitrage.export.summary import ExportSummary
from arbitrage.languages import name_of
from arbitrage.printable import markdown, markdown_block, markdown_code


def body(summary: ExportSummary) -> Iterator[str]:
    """Yield the card's blocks."""
    plan = summary.run.plan
    yield f"# {markdown(plan.name)}: {summary.dataset}"
    yield _what(summary)
    yield "## Load"
    yield _load(summary)
    if summary.dataset != CANDIDATES:
        yield f"Train with {summary.format.trainer}:"
        yield summary.format.usage(summary.shape)
    yield "## Languages"
    yield _languages(summary)
    if summary.tally.num_reasoned:
        yield "## Reasoning"
        yield _reasoning(summary)
    yield "## Teachers"
    yield _teachers(summary)
    yield "## Licences"
    yield _licences(summary)
    if summary.source.step:
        yield "## Selection"
        yield from _selection(summary, summary.source.step)
    yield "## Budget"
    yield _budget(summary)
    yield "## Provenance"
    commit = summary.run.manifest.git_commit or "unknown"
    yield (
        f"Run {markdown_code(plan.fingerprint)}, code {markdown_code(commit)}. `provenance.json` holds the whole "
        "config, the versions of all packages, each teacher's revision, and a digest of every file."
    )


def _what(summary: ExportSummary) -> str:
    rows = {
        "SftExample": "conversations whose last turn was selected from the responses of several teacher models",
        "PreferencePair": "pairs of responses to one prompt, the higher-scored one `chosen`",
        "Candidate": "responses of all teachers to all prompts, selected or not, with every score",
    }[summary.source.kind]
    pilot = (
        " It is a pilot: not all shards of the prompts were run." if summary.run.manifest.status == "pilot" else ""
    )
    return (
        f"{summary.tally.num_rows} {rows}, in {len(summary.tally.languages())} languages. The answers and their "
        f"scores are machine-generated; people have not checked them individually.{pilot}"
    )


def _load(summary: ExportSummary) -> str:
    language = next(iter(summary.tally.languages()))
    return f"""```python
from datasets import load_dataset

everything = load_dataset("path/to/this/directory")
one_language = load_dataset("path/to/this/directory", "{language}")
```"""


def _languages(summary: ExportSummary) -> str:
    splits = list(summary.tally.splits())
    rows = [
        [f"`{tag}`", name_of(tag), *(str(summary.tally.rows[split, tag]) for split in splits)]
        for tag in summary.tally.languages()
    ]
    return table(["tag", "language", *splits], rows)


def _reasoning(summary: ExportSummary) -> str:
    total, reasoned = summary.tally.num_rows, summary.tally.num_reasoned
    if summary.reasoning == "drop":
        return f"{reasoned} of {total} rows had reasoning in the run; it was dropped from this export."
    if summary.dataset == CANDIDATES:
        return (
            f"{reasoned} of {total} candidates have reasoning, in the column `reasoning`; `text` is the answer alone."
        )
    form = {
        "reasoning_content": "in the key `reasoning_content` of the answer's message, beside `content`",
        "thinking": "in the key `thinking` of the answer's message, beside `content`",
        "inline": "in `<think>…</think>` before the answer, in `content`",
    }[summary.source.reasoning or "inline"]
    text = f"{reasoned} of {total} rows have reasoning, {form}."
    if summary.source.kind == "PreferencePair":
        counts = {" and ".join(sides): count for sides, count in sorted(summary.tally.reasoned.items()) if sides}
        text += f"\n\n{table(['with reasoning', 'pairs'], [[side, str(count)] for side, count in counts.items()])}"
    if summary.shape.lacks_reasoning and (note := summary.format.mixed_note(summary.shape)):
        text += f"\n\n{note}"
    return text


def _teachers(summary: ExportSummary) -> str:
    tally, languages = summary.tally, summary.tally.languages()
    counts = {
        name: (str(sum(tally.chosen[name, tag] for tag in languages)), str(tally.rejected[name]))
        for name in summary.source.teachers
    }
    pool = table(
        ["teacher", "model", "revision", "precision", "licence", "rows", "as rejected"],
        [
            [
                *(markdown(text) for text in (t.name, t.model)),
                markdown_code(t.revision),
                *(markdown(text) for text in (t.precision, t.licence)),
                *counts[t.name],
            ]
            for t in summary.source.teachers.values()
        ],
    )
    shares = table(
        ["rows from", *map(markdown, summary.source.teachers)],
        [
            [f"`{tag}`", *(f"{tally.chosen[name, tag] / total:.0%}" for name in summary.source.teachers)]
            for tag, total in languages.items()
        ],
    )
    return f"{pool}\n\n{shares}"


def _licences(summary: ExportSummary) -> str:
    ranked = sorted(summary.tally.licences.items(), key=lambda item: (-item[1], item[0]))
    rows = [[" + ".join(map(markdown, found)), str(count)] for found, count in ranked]
    return (
        "Each row is bound by the licence of its prompt and those of the teachers that wrote its responses; column "
        f"`licences` names them.\n\n{table(['bound by', 'rows'], rows)}"
    )


def _selection(summary: ExportSummary, step: str) -> Iterator[str]:
    config = yaml.safe_dump(summary.run.step(step).config, sort_keys=False, allow_unicode=True)
    yield markdown_block(config, "yaml")
    [report] = [report for report in summary.run.manifest.steps if report.name == step]
    yield f"Of {report.num_in} prompts, {report.num_rejected} gave no row."
    if report.rejected:
        yield table(["reason", "prompts"], [[markdown(r), str(n)] for r, n in sorted(report.rejected.items())])
    if summary.tally.skipped:
        yield f"Of {summary.tally.num_read} rows, these are not in this export:"
        yield table(["reason", "rows"], [[r, str(n)] for r, n in sorted(summary.tally.skipped.items())])


def _budget(summary: ExportSummary) -> str:
    steps = summary.run.manifest.steps
    candidates = summary.run.plan.table.get("candidates", ())
    answers = count_candidates(summary.run, candidates)
    prompts = sum(s.num_rows for s in steps if s.name in summary.run.plan.table.get("prompts", ()))
    tokens = sum(s.completion_tokens for s in steps if s.name in candidates)
    figures: Mapping[str, str] = {
        "prompts": str(prompts),
        "answers sampled": str(answers),
        "generations per prompt": f"{answers / prompts:.2f}" if prompts else "–",
        "completion tokens": str(tokens),
        "cost": f"{sum(s.cost_usd for s in steps):.2f} USD",
    }
    return table(["", ""], [[name, figure] for name, figure in figures.items()])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of cells that are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
