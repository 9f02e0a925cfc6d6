"""What happens to a request without a response: whether the row or the endpoint is at fault, and the retry.

docs/decisions/0007-circuit-breaker.md explains the rules.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from arbitrage.contracts.engines import Failure, GenerationFailure, GenerationRequest
from arbitrage.teachers.engines.openai.active_clock import ActiveClock
from arbitrage.teachers.engines.openai.endpoint import Endpoint, Permit
from arbitrage.teachers.engines.openai.http import ConnectionProblem
from arbitrage.teachers.engines.openai.load_balancer import LoadBalancer
from arbitrage.teachers.engines.openai.retry import RetryBudget, backoff_s, longest_backoff_s
from arbitrage.teachers.engines.openai.settings import OpenAISettings

_STALE_TRIES = 2
"""Maximum number of kept-alive connections that may break for one request; a server closes all of them together."""

_STANDSTILLS = 20
"""Maximum number of suspensions of this process per request that cost it no try."""

_UNFINISHED_TRIES = 2
"""Tries for a completion without a finish reason. Some servers never send one, and each try costs money."""

_MAX_TURNED_AWAY = 5
"""A row fails if endpoints were busy for it this often and for `retry_for_s`, while others are served."""

_MAX_PROBES = 3
"""Maximum number of failed probes before a refusal is attributed to the row instead of its endpoint."""

_TIMED_OUT_PAUSE_S = 60.0

_UNREADABLE_FOR_S = 30.0
"""An endpoint without any readable response is given up after this time; a "starting" page disappears earlier."""


@dataclass(slots=True)
class RequestState:
    """A request and the history of its tries. Times are by the active clock."""

    request: GenerationRequest
    num_faults: int = 0
    num_waits: int = 0
    num_stale: int = 0
    num_standstills: int = 0
    num_unfinished: int = 0
    num_probes: int = 0
    denied_at: float | None = None  # first
    since: float | None = None  # when an endpoint first did not serve it
    not_before: dict[str, float] = field(default_factory=dict)  # URL → not before this time
    timed_out: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class OpenRefusal:
    """A row that was refused as often as allowed, while it is unknown whether others are served."""

    endpoint: Endpoint
    why: str
    failure: Failure


class RetryPolicy:
    """Decides what follows from a ConnectionProblem. Shared by all rows of a teacher.

    Args:
        access_problem: describes, for an endpoint and a reason, why it refuses access.
    """

    def __init__(
        self,
        config: OpenAISettings,
        balancer: LoadBalancer,
        clock: ActiveClock,
        access_problem: Callable[[str, str], str],
    ) -> None:
        self._config, self._balancer, self._clock, self._access_problem = config, balancer, clock, access_problem
        self._budget = RetryBudget()
        self.num_retries = self.num_refusals = 0

    def earn(self) -> None:
        """Count a request that was served: it pays for retries."""
        self._budget.earn()

    def after(self, row: RequestState, permit: Permit, problem: ConnectionProblem) -> Failure | OpenRefusal | None:
        """Return the permit; return the row's result if it fails, else note where and until when not to send it."""
        if problem.kind == "busy":
            return self._wait(row, permit, problem)
        found = self._after_problem(row, permit, problem)
        if found is None:
            self.num_retries += 1
        return found

    def after_probe(self, row: RequestState, refusal: OpenRefusal, problem: ConnectionProblem) -> Failure | None:
        """Return the result of a refused row after its probe failed for another reason."""
        row.num_probes += 1
        if problem.kind != "busy" and row.num_probes >= _MAX_PROBES:
            return refusal.failure
        until = self._clock.now() + backoff_s(row.request.candidate_id, row.num_probes)
        row.not_before[refusal.endpoint.url] = max(until, row.not_before.get(refusal.endpoint.url, 0.0))
        return None

    def _after_problem(
        self, row: RequestState, permit: Permit, problem: ConnectionProblem
    ) -> Failure | OpenRefusal | None:
        endpoint, leave = permit.endpoint, self._balancer.leave
        match problem.kind:
            case "stale" if row.num_stale < _STALE_TRIES:
                row.num_stale += 1
                leave(permit, "nothing")
            case "stood_still" if row.num_standstills < _STANDSTILLS:
                row.num_standstills += 1
                leave(permit, "nothing")
            case "unreachable":
                self._turned_away(row)
                leave(permit, "unreachable", str(problem), row.request.candidate_id)
            case "no_access":
                return self._refused(row, permit, problem)
            case "not_found" if not endpoint.has_served:  # it may still be loading the model
                self._turned_away(row)
                leave(permit, "unreachable", str(problem), row.request.candidate_id)
                endpoint.missing = self._access_problem(endpoint.url, str(problem))
            case "denied" | "not_found":
                return self._refused(row, permit, problem)
            case "unfinished":
                return self._unfinished(row, permit, problem)
            case _:
                return self._fault(row, permit, problem)
        return None

    def _turned_away(self, row: RequestState) -> float:
        """Return when endpoints were first busy for a row: now, if never before."""
        row.since = self._clock.now() if row.since is None else row.since
        return row.since

    def _wait(self, row: RequestState, permit: Permit, problem: ConnectionProblem) -> Failure | OpenRefusal | None:
        """The endpoint is busy: for all rows, or only for this one.

        A requested pause longer than `retry_for_s` may concern only this request, or be wrong, so the request is
        retried sooner. If the endpoint refuses several in a row, the concurrency limit honours the pause.
        """
        self.num_refusals += 1
        since = self._turned_away(row)
        candidate_id, patience_s = row.request.candidate_id, self._config.retry_for_s
        why, requested_s = str(problem), problem.wait_s
        if requested_s is None:
            wait_s = backoff_s(candidate_id, row.num_waits)
        else:
            why = f"{why}, requests a pause of {requested_s:.0f} s"
            wait_s = (
                requested_s if requested_s <= patience_s else min(longest_backoff_s(candidate_id), patience_s / 2)
            )
        row.num_waits += 1
        until = row.not_before[permit.endpoint.url] = self._clock.now() + wait_s
        self._balancer.leave(permit, "busy", why, wait_s=requested_s if requested_s is not None else wait_s)
        until = max(until, permit.endpoint.opens_at())
        if row.num_waits < _MAX_TURNED_AWAY or until - since <= patience_s:
            return None
        detail = f"refused as busy {row.num_waits} times while other requests were served: {problem}"
        failure = self._failed(row, "engine_error", detail)
        are_others_served = any(endpoint.served_at > since for endpoint in self._balancer.usable())
        return failure if are_others_served else OpenRefusal(permit.endpoint, why, failure)

    def _refused(self, row: RequestState, permit: Permit, problem: ConnectionProblem) -> Failure | OpenRefusal | None:
        """The endpoint refuses this request, and maybe all; other requests show which."""
        endpoint, request, now = permit.endpoint, row.request, self._clock.now()
        why = self._access_problem(endpoint.url, str(problem))
        if problem.kind == "no_access" and not endpoint.has_served:
            self._balancer.leave(permit, "no_access", why)
            return None
        cause = "" if row.denied_at is not None else request.prompt_id
        row.denied_at = now if row.denied_at is None else row.denied_at
        row.since = None
        self._balancer.leave(permit, "denied", why, cause)
        if endpoint.is_out:
            return None
        row.num_faults += 1
        if row.num_faults >= self._config.num_tries:
            failure = self._failed(row, "bad_request", str(problem))
            return failure if endpoint.served_at > row.denied_at else OpenRefusal(endpoint, why, failure)
        self._pause(row, endpoint, is_timeout=False)
        return None

    def _unfinished(self, row: RequestState, permit: Permit, problem: ConnectionProblem) -> Failure | None:
        self._balancer.leave(permit, "success")
        row.num_unfinished += 1
        if row.num_unfinished >= min(_UNFINISHED_TRIES, self._config.num_tries):
            hint = "; if the endpoint never gives one, set no_finish_reason: stop in the teacher's engine"
            return self._failed(row, "unknown_finish_reason", f"{problem}{hint}")
        self._pause(row, permit.endpoint, is_timeout=False)
        return None

    def _fault(self, row: RequestState, permit: Permit, problem: ConnectionProblem) -> Failure | None:
        """The row or the endpoint is at fault. It costs the row a try, unless the endpoint is known to be faulty."""
        endpoint, request = permit.endpoint, row.request
        is_timeout = problem.kind == "timeout"
        is_alone = len(self._balancer.usable()) == 1
        blames = not (is_timeout and is_alone)  # a pause does not help if there is only one slow endpoint
        cause = "" if row.num_faults else request.prompt_id
        row.since = None  # it was not refused as busy
        if problem.kind == "malformed" and self._is_unreadable(endpoint):
            why = self._access_problem(endpoint.url, f"gives responses that are no chat completions: {problem}")
            self._balancer.leave(permit, "no_access", why)
            return None
        self._balancer.leave(permit, "fault" if blames else "nothing", str(problem), cause)
        if permit.is_probe or not endpoint.is_aside:
            row.num_faults += 1
        if is_timeout:
            row.timed_out.add(endpoint.url)
            if row.timed_out >= {e.url for e in self._balancer.usable()}:
                return self._failed(row, "timeout", f"no response in {self._config.timeout_s:g} s")
            row.not_before[endpoint.url] = self._clock.now() + _TIMED_OUT_PAUSE_S
        if row.num_faults >= self._config.num_tries:
            return self._failed(row, "engine_error", str(problem))
        if not endpoint.is_aside:  # otherwise the wait for its return is pause enough
            self._pause(row, endpoint, is_timeout)
        return None

    def _is_unreadable(self, endpoint: Endpoint) -> bool:
        patience_s = min(_UNREADABLE_FOR_S, self._config.retry_for_s)
        is_lasting = endpoint.is_aside and self._clock.now() - endpoint.aside_since > patience_s
        return is_lasting and not endpoint.has_served

    def _pause(self, row: RequestState, endpoint: Endpoint, is_timeout: bool) -> None:
        """Keep a row away from where it failed, and from all endpoints if retries are over budget."""
        now, candidate_id = self._clock.now(), row.request.candidate_id
        if not self._budget.spend():
            until = now + longest_backoff_s(candidate_id)
            row.not_before = {url: max(until, row.not_before.get(url, 0.0)) for url in self._config.urls}
        elif not is_timeout:
            row.not_before[endpoint.url] = now + backoff_s(candidate_id, max(0, row.num_faults - 1))

    def _failed(self, row: RequestState, reason: GenerationFailure, detail: str) -> Failure:
        return Failure(row.request.candidate_id, reason, detail)


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """Return a text without the secrets that a server may echo."""
    for secret in secrets:
        bare = secret.removeprefix("Bearer ")
        text = text.replace(secret, "***").replace(bare, "***")
    return text
