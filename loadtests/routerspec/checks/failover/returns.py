"""An instance that is well again is asked again: failover/returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.checks.failover.tried import failing_in, one_server, serving
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import (
    AFTER_FAULT,
    LONGEST_RECOVERY_S,
    REQUESTS_TO_RETURN,
    RETURNS_LATE_S,
)
from routerspec.promises import Failover, Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Witness

SCENARIOS = ("failover", "failover-flapping")


@dataclass(slots=True)
class _Seen:
    """What was seen of all instances that failed for a while."""

    returned: int = 0
    flapped: int = 0
    """Of those, after a failure that came and went."""
    doubtful: int = 0
    starved: list[tuple[StartHistory, PlayedRound, list[Observation]]] = field(default_factory=list)
    """Rounds in which one served nothing though it was due, with the requests that came then."""


def _returns(history: History, _promise: Failover) -> Finding:
    seen = _Seen()
    recovery_s = history.promises.recovery_s
    for start in history.starts:
        used: set[str] = set()
        for played in start.played(*SCENARIOS):
            name, part = failing_in(played), played.round.part
            served = serving(start, played)
            if part.startswith(AFTER_FAULT) and name in used & served:
                seen.returned += 1
                seen.flapped += played.round.scenario == "failover-flapping"
            elif part.startswith(AFTER_FAULT) and name in used:
                _read_starved(start, played, recovery_s, seen)
            used |= served
    numbers = {"returned": seen.returned, "flapping": seen.flapped}
    if seen.starved:
        start, played, late = seen.starved[0]
        name = failing_in(played)
        summary = f"{name} is not asked again"
        return results.violated(summary, _witness(start, played, late, recovery_s), numbers)
    if seen.doubtful:
        reason = "an instance served nothing after its cooldown, too few requests came to accuse"
        return results.inconclusive(reason, numbers)
    if not seen.returned or not seen.flapped:
        what = "no instance failed for a while" if not seen.returned else "no instance flapped"
        return results.never_exercised(what, numbers)
    return results.held(f"asked again after {seen.returned} failures", numbers)


def _read_starved(start: StartHistory, played: PlayedRound, recovery_s: float, seen: _Seen) -> None:
    due_ns = played.from_ns + int((recovery_s + RETURNS_LATE_S) * 1e9)
    late = [
        client
        for client in played.observations
        if client.outcome == "answered" and client.started_ns >= due_ns
    ]
    others = {call.provider for call in start.calls_for(late)}
    quiet = start.is_quiet(played.from_ns, played.until_ns, RETURNS_LATE_S * 1e9)
    if others and quiet and len(late) >= REQUESTS_TO_RETURN * (len(others) + 1):
        seen.starved.append((start, played, late))
    else:
        seen.doubtful += 1


def _witness(
    start: StartHistory, played: PlayedRound, late: list[Observation], recovery_s: float
) -> Witness:
    name = failing_in(played)
    sentence = (
        f"{name} was well again, and {recovery_s:g} s of cooldown and {RETURNS_LATE_S:g} s more "
        f"had passed: none of {len(late)} further requests reached it, and others served them all."
    )
    return Witness(
        sentence=sentence,
        facts=(
            witness.where(start, played),
            f"{name} failed until {witness.at(played, played.from_ns)}",
            *(
                f"{witness.nonce_line(played, client)}; served by "
                + ", ".join(sorted({c.provider for c in start.calls_of.get(client.nonce, ())}))
                for client in (*late[:2], *late[-2:])
            ),
        ),
    )


def _too_long(promises: Promises) -> str:
    if promises.recovery_s <= LONGEST_RECOVERY_S:
        return ""
    return f"a cooldown of more than {LONGEST_RECOVERY_S:g} s is not waited for"


RETURNS = Check(
    id="failover/returns",
    promise=Failover,
    exempt=_too_long,
    scenarios=SCENARIOS,
    needs_target=one_server,
    judge=_returns,
    promised="An instance that failed is asked again after its cooldown (`recovery_s`), also one "
    "that was well and failed by turns.",
    proved="An instance that had served requests fails for a while and is well again; from "
    f"`recovery_s` and {RETURNS_LATE_S:g} s later on, {REQUESTS_TO_RETURN} requests for each "
    "instance are served by others, and none reaches it.",
    doubt="In the router's favour: one request that reaches it excuses; only an instance counts "
    "that had served requests just before. Inconclusive where no instance failed, where fewer "
    "requests were served, and where either side stalled.",
    bug="A dead primary that is tried by each request again, or never: BerriAI/litellm PR #38606; "
    "a backend that stays ejected: vllm-project/production-stack #749.",
    fix="Store when the cooldown ends, not that the instance is down, and let one request through "
    "from then on.",
)
