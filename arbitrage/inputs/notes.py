"""Notes of reading in words, for reports and terminals."""

_WORDS = {
    "column_not_read": "rows whose column '{}' says something that a prompt cannot hold: it was not read",
    "empty_file": "files without rows",
    "file_linked_twice": "files that another link leads to as well: read once",
    "file_not_read": "files in the folder that were not read ({})",
    "folder_linked_twice": "folders that another link leads to as well: read once",
    "hidden_file_not_read": "hidden files (`.` or `_`) in the folder that were not read",
    "hidden_folder_not_read": "hidden folders (`.` or `_`) that were not searched",
    "language_disagreement": "prompts whose text is in another language than their tag says ({})",
    "lone_surrogate_replaced": "texts with half of a surrogate pair, replaced by U+FFFD",
    "merged_rows": "rows of a prompt that was read before",
    "message_key_not_read": "messages with a '{}', which was not read",
    "message_part_not_read": "messages with a part of type '{}', which was not read",
    "reasoning_beside": "texts with reasoning beside them, which is no part of them (metrics of it: `of: reasoning`)",
    "reasoning_not_taken_out": "texts that hold reasoning ({}) behind their beginning: measured as a part of them",
    "reasoning_taken_out": "texts whose reasoning ({} …) was taken out of them (metrics of it: `of: reasoning`)",
    "tool_turns_cut": "conversations whose answer used tools: cut off with the answer",
    "trailing_answer_cut": "conversations whose answer was cut off",
    "value_not_read": "rows whose value of '{}' is of another type than text: left out",
    "values_joined": "rows whose list in '{}' was joined by commas",
}


def note_text(note: str) -> str:
    """Return a note in words, to follow its count: 'file_not_read:.md' → 'files … that were not read (.md)'."""
    kind, _, detail = note.partition(":")
    words = _WORDS.get(kind, note)
    if kind == "value_not_read":
        column, _, type_ = detail.rpartition(":")
        detail = column
        words += f" ({type_})"
    return words.replace("{}", detail)
