"""Keep secrets out of messages and files: values of secret keys, and credentials in URLs.

Secrets belong into environment variables, which configs name (`api_key_env`). Where one was written into a config
nevertheless, it must not be repeated in an error, in `run.json` or in a report.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

REDACTED: Final = "<redacted>"

_SECRET_WORDS = frozenset(
    {
        *("apikey", "authorization", "bearer", "credential", "credentials", "passphrase", "passwd", "password"),
        *("pwd", "secret", "secrets", "token"),
    }
)
_MODEL_TOKENS = frozenset(["bos", "cls", "eos", "mask", "pad", "sep", "special", "stop", "think", "tool", "unk"])
"""Before `token`, these name a token of a vocabulary: `pad_token`, `stop_token`."""

_SECRET_PAIRS = frozenset(("api key", "access key", "secret key", "private key", "auth key", "account key"))
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@'\"]{1,512}@")


def is_secret_key(name: str) -> bool:
    """Tell whether a key's name says that its value is a secret: `api_key`, `hf_token`, `X-Auth-Token`.

    `max_tokens`, `tokenizer` and names that end in `_env` (names of environment variables) are none.
    """
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    if words[-1:] in (["env"], ["field"]):
        return False
    if "token" in words:
        place = words.index("token")
        if (words[place - 1 : place] and words[place - 1] in _MODEL_TOKENS) or words[place + 1 :]:
            words.pop(place)  # `stop_token_ids` and `token_count` are no secrets either
    pairs = {f"{first} {second}" for first, second in pairwise(words)}
    return not _SECRET_WORDS.isdisjoint(words) or not _SECRET_PAIRS.isdisjoint(pairs)


def redact_text(text: str) -> str:
    """Return text without the credentials of addresses: https://user:password@host becomes https://<redacted>@host."""
    return _CREDENTIALS.sub(f"{REDACTED}@", text)


def redact(value: Any) -> Any:
    """Return JSON values without secrets: under secret keys all texts and numbers, elsewhere credentials in texts."""
    if isinstance(value, Mapping):
        return {key: _hide(each) if is_secret_key(str(key)) else redact(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redact(each) for each in value]
    return redact_text(value) if isinstance(value, str) else value


def _hide(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hide(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(each) for each in value]
    return value if value is None or isinstance(value, bool) else REDACTED
