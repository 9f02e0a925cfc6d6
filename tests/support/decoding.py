"""Requests with each sampling parameter, and what must hold of their completions, whichever engine samples them."""

from arbitrage.contracts.engines import Completion, DecodingOptions, GenerationRequest
from arbitrage.records import FinishReason
from tests.support.asking import Results, a_request
from tests.support.tiny_model import CORPUS

PLAIN = {f"plain{i}": a_request(text, candidate_id=f"plain{i}", max_tokens=24) for i, text in enumerate(CORPUS)}


def with_options(name: str, text: str, **options: object) -> GenerationRequest:
    return a_request(text, candidate_id=name, max_tokens=24, options=DecodingOptions.model_validate(options))


def requests_for_each(stop: str, bad: str, token: int) -> list[GenerationRequest]:
    """Return greedy requests, each with one parameter.

    Args:
        stop: a text that some completion holds.
        bad: another.
        token: the id of a token.
    """
    text = CORPUS[0]
    return [
        *PLAIN.values(),
        with_options("repetition", text, repetition_penalty=1.8),
        with_options("presence", text, presence_penalty=1.9),
        with_options("frequency", text, frequency_penalty=1.9),
        with_options("min_tokens", CORPUS[1], min_tokens=20),
        with_options("bias", text, logit_bias={token: 100.0}),
        with_options("stop", text, stop=(stop,)),
        with_options("bad", text, bad_words=(bad,)),
        with_options("stop_id", text, logit_bias={token: 100.0}, stop_token_ids=(token,)),
    ]


def texts_of(results: Results) -> dict[str, tuple[str, FinishReason, int | None]]:
    return {
        key: (found.text, found.finish_reason, found.completion_tokens)
        for key, found in results.items()
        if isinstance(found, Completion)
    }
