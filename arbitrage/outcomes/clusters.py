"""Which prompts belong together: those that translate or reword each other are never split, and count as one."""


def cluster_key(prompt_id: str, source_id: str, language: str) -> str:
    """Return what a prompt shares with its translations and rewordings: the id its source knows it by.

    Parallel sets number their questions alike in every language; an id that ends in the prompt's own language
    (`17/de`) is taken without it. Prompts without a source id stand alone.
    """
    if not source_id:
        return f"prompt {prompt_id}"
    group, _, member = source_id.rpartition("/")
    return group if group and member == language else source_id
