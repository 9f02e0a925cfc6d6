"""Map the licences of rows to the Hub's licence fields."""

import re
from collections.abc import Sequence

from arbitrage.export.origin import UNKNOWN_LICENCE

# Likely licences of models and prompts, from https://huggingface.co/docs/hub/repositories-licenses
_HUB = """
    afl-3.0 apache-2.0 bsd-2-clause bsd-3-clause cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0
    cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0
    cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-2.0 gemma gpl-3.0 lgpl-3.0 llama2 llama3 llama3.1 llama3.2
    llama3.3 mit mpl-2.0 odbl odc-by openrail pddl unlicense wtfpl
"""
HUB_LICENCES = frozenset(_HUB.split())

_NOT_OF_A_NAME = re.compile(r"[^a-z0-9.+]+")
"""Characters that are not allowed in the Hub's `license_name`."""


def hub_licence(licences: Sequence[str]) -> dict[str, str]:
    """Return the Hub's licence fields: the one licence of all rows, or `other` with a name that says why."""
    if len(licences) != 1:
        return {"license": "other", "license_name": "mixed-see-card"}
    [licence] = licences
    if licence == UNKNOWN_LICENCE:
        return {"license": "unknown"}
    if licence.lower() in HUB_LICENCES:
        return {"license": licence.lower()}
    return {"license": "other", "license_name": _NOT_OF_A_NAME.sub("-", licence.lower()).strip("-") or "see-card"}
