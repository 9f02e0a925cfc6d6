"""A server with a concurrency limit and its clients, in virtual time: what a Limiter makes of it."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from arbitrage.teachers.engines.openai.concurrency import ConcurrencyLimit


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        share_held: places filled with accepted requests ÷ places there were, over the whole time.
        share_refused: requests refused ÷ requests sent.
        num_accepted: requests accepted.
    """

    share_held: float
    share_refused: float
    num_accepted: int


@dataclass
class Server:
    """Accepts as many requests as its limit of the moment allows, and refuses the others sooner than it answers.

    Attributes:
        limit_at: its limit at a time (in mean latencies).
        refusal_latency: time until a refusal arrives, in mean latencies.
        spread: latencies are uniform in 1 ± spread.
    """

    limit_at: Callable[[float], int]
    refusal_latency: float = 0.05
    spread: float = 0.5


def simulate(server: Server, duration: float, seed: int, most: int = 1024, start: int = 32) -> Outcome:
    """Send requests without end for a duration (in mean latencies), as many at once as a Limiter admits."""
    clock = [0.0]
    limiter = ConcurrencyLimit(most, start, now=lambda: clock[0])
    randomness, ordinal = random.Random(seed), count()
    events: list[tuple[float, int, str, int]] = []
    held = places = 0.0
    num_sent = num_refused = accepted = num_accepted = 0
    while clock[0] < duration:
        while limiter.has_room():
            entered_in, num_sent = limiter.enter(), num_sent + 1
            if accepted < server.limit_at(clock[0]):
                accepted, num_accepted = accepted + 1, num_accepted + 1
                takes, kind = randomness.uniform(1 - server.spread, 1 + server.spread), "answer"
            else:
                num_refused += 1
                takes, kind = server.refusal_latency * randomness.uniform(0.5, 1.5), "refusal"
            heapq.heappush(events, (clock[0] + takes, next(ordinal), kind, entered_in))
        next_at = events[0][0] if events else limiter.closed_until
        limit = server.limit_at(clock[0])
        held += (next_at - clock[0]) * min(accepted, limit)
        places += (next_at - clock[0]) * limit
        clock[0] = next_at
        if events:
            _, _, kind, entered_in = heapq.heappop(events)
            if kind == "answer":
                accepted -= 1
                limiter.leave(is_success=True)
            else:
                limiter.refused(entered_in, 0.0)
    return Outcome(held / places, num_refused / num_sent, num_accepted)
