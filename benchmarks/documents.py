"""Writes measured tables into documents, between the marks of the script that measured them."""


def between(text: str, name: str, script: str, table: str) -> str:
    """Return a document with the text between two marks replaced.

    Args:
        text: of the document.
        name: of the part.
        script: that writes it, such as 'benchmarks/routing.py'.
        table: the new text.

    Raises:
        ValueError: the document has no such marks.
    """
    start, end = f"<!-- {name}: written by {script} -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(start)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"no part '{name}' of {script} in the document")
    return f"{before}{start}\n\n{table}\n{end}{after}"
