"""What the mock server says, how long it takes and what goes wrong: all from hashes, so that runs can be repeated."""

import hashlib
import json
import math
import random
from dataclasses import dataclass
from typing import Any

SENTENCE = "the river runs north past seven old towns and each bridge has a name that nobody there forgets"
WORDS = SENTENCE.split()


@dataclass(frozen=True)
class ServerConfig:
    """What the server does. Shares are of calls, chosen by the hash of key and attempt.

    Attributes:
        latency_s: mean time to an answer.
        latency: how it spreads: "constant", "uniform" (half to one and a half), "lognormal" with `sigma`.
        stragglers: share of calls that take `straggler_factor` times as long.
        limits: (from second, calls under way at most) since the first call; further ones get 429 at once.
        limits_period_s: `limits` starts again after this many seconds; 0 never.
        retry_after_s: `Retry-After` of a 429; below 0, none is sent.
        errors: share answered 500.
        broken: share of keys that are answered 500 at every attempt.
        stalls: share never answered; the client must give up.
        garbage: share answered 200 with something that is not JSON.
        drops: share whose connection is closed half-way through the answer.
        poison: text that, in a prompt, makes the server crash: all calls under way break off.
        down_s: seconds without answers after a crash: new calls' connections are closed.
        num_words: words of an answer.
        text_by_attempt: answers differ by attempt.
    """

    latency_s: float = 0.05
    latency: str = "constant"
    sigma: float = 0.6
    stragglers: float = 0.0
    straggler_factor: float = 10.0
    limits: tuple[tuple[float, int], ...] = ()
    limits_period_s: float = 0.0
    retry_after_s: float = -1.0
    errors: float = 0.0
    broken: float = 0.0
    stalls: float = 0.0
    garbage: float = 0.0
    drops: float = 0.0
    poison: str = ""
    down_s: float = 0.2
    num_words: int = 16
    text_by_attempt: bool = False

    def latency_of(self, key: str, attempt: int) -> float:
        draw = random.Random(f"{key}-{attempt}-latency")
        factor = 1.0
        if self.latency == "uniform":
            factor = 0.5 + draw.random()
        elif self.latency == "lognormal":
            factor = math.exp(draw.gauss(-self.sigma * self.sigma / 2, self.sigma))  # mean 1
        if draw.random() < self.stragglers:
            factor *= self.straggler_factor
        return self.latency_s * factor

    def limit_at(self, seconds: float) -> int | None:
        """Return how many calls may be under way, None for any number."""
        if not self.limits:
            return None
        if self.limits_period_s:
            seconds %= self.limits_period_s
        return [limit for since, limit in self.limits if since <= seconds][-1]

    def is_broken(self, key: str) -> bool:
        """Tell whether every attempt at a key fails."""
        return self.broken > 0.0 and random.Random(f"{key}-broken").random() < self.broken

    def fault_of(self, key: str, attempt: int) -> str:
        if self.is_broken(key):
            return "errors"
        draw = random.Random(f"{key}-{attempt}-fault").random()
        for name in ("errors", "stalls", "garbage", "drops"):
            draw -= getattr(self, name)
            if draw < 0:
                return name
        return ""


def key_of(body: dict[str, Any]) -> str:
    """Return the 16 hex digits that name a request."""
    said = json.dumps([body.get("model"), body.get("messages"), body.get("seed")], ensure_ascii=False)
    return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def text_of(key: str, num_words: int, attempt: int | None = None) -> str:
    """Return the answer to a key."""
    number = int(key, 16)
    words = [WORDS[(number >> (i * 3 % 61)) % len(WORDS)] for i in range(max(0, num_words - 1))]
    return " ".join([*words, key if attempt is None else f"{key}/{attempt}"])
