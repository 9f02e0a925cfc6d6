"""Secrets are known by the names of their keys, and credentials by their place in an address."""

import pytest

from arbitrage.redaction import REDACTED, is_secret_key, redact


@pytest.mark.parametrize(
    "name",
    ["api_key", "apiKey", "OPENAI_API_KEY", "api-key", "Authorization", "hf_token", "X-Auth-Token", "password",
     "client_secret", "aws_secret_access_key", "credentials", "bearer"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_key(name)


@pytest.mark.parametrize(
    "name",
    ["max_tokens", "tokenizer", "api_key_env", "max_tokens_field", "prompt_tokens", "key", "keys", "name", "monkey",
     "token_count_env", "stop_token_ids_field", "stop_token_ids", "pad_token", "eosToken", "token_type", "num_tries", "secretary"],
)  # fmt: skip
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_key(name)


def test_what_is_written_to_files_holds_no_secret() -> None:
    raw = {
        "engine": {"extra_body": {"api_key": "sk-1", "top_k": 5, "nested": [{"password": ["a", {"b": 2}]}]}},
        "base_url": "https://me:sk-2@host/v1",
        "note": ["see http://user@host and mail me@host"],
        "use_token": True,
    }
    assert redact(raw) == {
        "engine": {
            "extra_body": {"api_key": REDACTED, "top_k": 5, "nested": [{"password": [REDACTED, {"b": REDACTED}]}]}
        },
        "base_url": f"https://{REDACTED}@host/v1",
        "note": [f"see http://{REDACTED}@host and mail me@host"],
        "use_token": True,
    }
