"""What a refusal by a limit says, and whether that is true: limits/retry-after."""

from __future__ import annotations

from dataclasses import dataclass, field

from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.checks.limits import admitted
from routerspec.checks.limits.admitted import TOO_MANY_REQUESTS, Request, Scope
from routerspec.history.history import History
from routerspec.limits import LIMIT_PAUSE, TRIES
from routerspec.promises import Limits
from routerspec.verdict import Finding, Kind, Number, Witness

SCENARIOS = ("limits",)
ODD = 2
"""Refusals other than promised that it takes to accuse."""


@dataclass(slots=True)
class _Seen:
    """What the refusals of all limits said."""

    refused: list[Request] = field(default_factory=list)
    other: list[Request] = field(default_factory=list)
    """Refused with another status than 429."""
    silent: list[Request] = field(default_factory=list)
    """Refused with 429 and no Retry-After that can be read."""
    served: int = 0
    missed: int = 0
    proof: list[tuple[Request, Request]] = field(default_factory=list)
    """(refused, its retry): the first three of one limit, each of which was refused again."""

    def add(self, scope: Scope) -> None:
        """Read the refusals of one limit, and what came later."""
        self.refused += scope.refused
        self.other += [each for each in scope.refused if _status(each) != TOO_MANY_REQUESTS]
        limited = [each for each in scope.refused if each.limited]
        self.silent += [each for each in limited if not each.client.retry_after.strip()]
        due = sorted((at, each.client.nonce, each) for each in limited if (at := _due_ns(each)))
        later, pairs = list(scope.requests), []
        for at, _, each in due:
            retry = next((its for its in later if its.from_ns >= at), None)
            if retry is None:
                continue
            later.remove(retry)
            if retry.limited or retry.admitted:
                pairs.append((each, retry))
        self.served += sum(retry.admitted for _, retry in pairs)
        self.missed += sum(retry.limited for _, retry in pairs)
        first = pairs[:TRIES]
        if len(first) == TRIES and all(retry.limited for _, retry in first):
            self.proof = self.proof or first


def _retry_after(history: History, _promised: Limits) -> Finding:
    seen = _Seen()
    for scope in admitted.scopes(history, *SCENARIOS):
        seen.add(scope.only(LIMIT_PAUSE))
    numbers: dict[str, Number] = {
        "refused": len(seen.refused),
        "served as told": seen.served,
        "refused again": seen.missed,
    }
    if len(seen.other) >= ODD and len(seen.other) == len(seen.refused):
        status = _status(seen.other[0])
        sentence = f"A limit refused {len(seen.other)} requests with {status} and none with 429."
        return results.violated(f"refused with {status}", _of(seen.other, sentence), numbers)
    if len(seen.silent) >= ODD and len(seen.silent) == len(seen.refused):
        sentence = f"A limit refused {len(seen.silent)} requests without any Retry-After."
        return results.violated("without Retry-After", _of(seen.silent, sentence), numbers)
    if seen.proof:
        return results.violated("refused again after Retry-After", _untrue(seen), numbers)
    if not seen.served:
        return results.never_exercised("no refused request was served as it was told", numbers)
    return results.held(f"{seen.served} were served as they were told", numbers)


def _status(request: Request) -> int:
    return request.client.status or 0


def _due_ns(refused: Request) -> int:
    """When it was told to come again; 0: it was not told a number of seconds."""
    text = refused.client.retry_after.strip()
    try:
        told_s = float(text)
    except ValueError:
        return 0
    return refused.until_ns + round(told_s * 1e9) if 0 <= told_s < 1e6 else 0


def _of(refused: list[Request], sentence: str) -> Witness:
    first = refused[0]
    where = witness.where(first.start, first.played)
    return Witness(
        sentence=sentence,
        facts=(
            where,
            *(each.line() for each in refused[: admitted.SHOWN]),
            f"error {first.client.error[:160]!r}",
        ),
    )


def _untrue(seen: _Seen) -> Witness:
    first, retry = seen.proof[0]
    later = witness.seconds(retry.from_ns - first.until_ns)
    return Witness(
        sentence=(
            f"A limit refused a request with Retry-After {first.client.retry_after}; the next one, "
            f"sent {later} later, was refused too, and so the first three of three times."
        ),
        facts=(
            witness.where(first.start, first.played),
            *(line for pair in seen.proof for line in (each.line() for each in pair)),
        ),
    )


RETRY_AFTER = Check(
    id="limits/retry-after",
    kind=Kind.SHOULD,
    promise=Limits,
    exempt=admitted.needs_requests,
    needs_target=admitted.started,
    scenarios=SCENARIOS,
    judge=_retry_after,
    timed=True,
    promised="What a limit refuses gets 429 with a Retry-After, and a request that comes so much "
    "later is served.",
    proved="A limit is used up by one client, one request at a time. All refusals have another "
    "status, or none has a Retry-After; or the first three of three requests that come later than "
    "told are refused with 429 again.",
    doubt="In the router's favour: a request comes up to a second later than told (an eighth of "
    "a short window), so that seconds may be rounded off; one of the three that is served excuses; "
    "a date is not followed, and a longer time than needed is no violation. Inconclusive where "
    "none is served.",
    bug="Clients wait as they are told, and are refused for ever: BerriAI/litellm #27823 and "
    "#37754.",
    fix="Send the seconds until the window ends, rounded up.",
)
