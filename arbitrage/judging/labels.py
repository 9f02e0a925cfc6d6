"""People's verdicts on the same matches: rows of a prompt's id, perhaps a language, and who won."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from arbitrage.errors import DataError
from arbitrage.inputs.rows import Fault
from arbitrage.inputs.values import id_text, shown
from arbitrage.judging.answers import rows_of
from arbitrage.judging.columns import AnswerColumns
from arbitrage.judging.pairwise import Choice
from arbitrage.languages import read_language
from arbitrage.records import Verdict

_SAID: dict[str, Choice] = {
    "a": "a",
    "b": "b",
    "tie": "tie",
    "model_a": "a",
    "model_b": "b",
    "tie (bothbad)": "tie",
    "both_bad": "tie",
}
"""As people and Chatbot Arena write it, in lower case."""


@dataclass
class Labels:
    """People's verdicts by prompt id and language; of one prompt there may be several."""

    by_key: dict[tuple[str, str | None], list[Choice]] = field(default_factory=dict)

    @property
    def num(self) -> int:
        """Number of labels."""
        return sum(len(found) for found in self.by_key.values())

    def of(self, verdict: Verdict) -> list[Choice]:
        """Return what people say of a match."""
        for key in (verdict.prompt_id, verdict.source_id):
            for language in (verdict.language, None):
                if found := self.by_key.get((key, language)):
                    return found
        return []


def read_labels(paths: Sequence[str], columns: AnswerColumns) -> Labels:
    """Read labels.

    Raises:
        UserError: a path matches nothing, or a column is missing.
        DataError: a row cannot be read, has no id, or names another winner than a, b or tie.
    """
    found: defaultdict[tuple[str, str | None], list[Choice]] = defaultdict(list)
    for row in rows_of(paths, columns, "winner", "--labels"):
        if isinstance(row, Fault):
            raise DataError(f"--labels: {row.position}: {row.reason}: {row.detail}")
        said, key = columns.value(row.values, "winner"), id_text(columns.value(row.values, "id"))
        choice = _SAID.get(said.strip().lower()) if isinstance(said, str) else None
        if choice is None:
            raise DataError(f"--labels: {row.position}: the winner {shown(said)} is not one of a, b, tie")
        if key is None:
            raise DataError(f"--labels: {row.position}: has no prompt id (prompt_id, question_id, qid, id)")
        language = columns.value(row.values, "language")
        tag = read_language(language) if isinstance(language, str) else None
        found[key, tag].append(choice)
    return Labels(dict(found))
