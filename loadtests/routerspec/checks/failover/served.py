"""Another instance serves what one has failed: failover/served."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from routerspec.checks import cells, witness
from routerspec.checks.check import Check
from routerspec.checks.deadlines import Deadlines
from routerspec.checks.failover.tried import Tried, names_of, one_server, serving, tried
from routerspec.checks.failover.tried import witness_of as shown
from routerspec.history.history import History
from routerspec.limits import REFUSED, answered_within_s
from routerspec.promises import Failover
from routerspec.verdict import Finding, Number, Witness

SCENARIOS = ("failover", "failover-fallback")


@dataclass(slots=True)
class _Tally:
    """What was seen of one fault."""

    served: int = 0
    unserved: list[Tried] = field(default_factory=list)
    times: defaultdict[str, Deadlines[Tried]] = field(
        default_factory=lambda: defaultdict(Deadlines)
    )
    """By mode: the head of a stream may come with a first comment, that of no other answer."""

    @property
    def late(self) -> list[Tried]:
        """As many late answers as it takes to accuse; mostly empty."""
        return next((its.proof for its in self.times.values() if its.proof), [])


def _served(history: History, promise: Failover) -> Finding:
    tallies: defaultdict[tuple[str], _Tally] = defaultdict(_Tally)
    used = _used_before(history)
    for its in tried(history, *SCENARIOS):
        if not its.met or len(its.failing) >= promise.attempts:
            continue
        tally = tallies[its.fault,]
        if its.served:
            if its.fault != REFUSED or (its.start.info.name, *its.failing) in used:
                tally.served += 1
        elif its.is_the_routers:
            tally.unserved.append(its)
        _add_time(its, tally.times[its.client.mode], promise)
    numbers: dict[str, Number] = {fault: its.served for (fault,), its in sorted(tallies.items())}

    def lacks(its: _Tally | None) -> str:
        if its is None or not its.served:
            return "never exercised: no request that met it was served"
        if late := sum(len(times.missed) for times in its.times.values()):
            return f"{late} requests that met it were served late, which is too few to accuse"
        return ""

    return cells.judge(
        dict(sorted(tallies.items())),
        [(fault,) for fault in promise.on],
        accuse=lambda its: _accused(its, promise),
        lacks=lacks,
        held=f"{sum(its.served for its in tallies.values())} requests served by another instance",
        numbers=numbers,
        severity=lambda its: len(its.unserved),
    )


def _used_before(history: History) -> set[tuple[str, ...]]:
    """(start, instance) where an instance had served requests before its port was closed.

    Only then would it have been asked again.
    """
    return {
        (start.info.name, name)
        for start, played in history.rounds(*SCENARIOS)
        for name in serving(start, played)
    }


def _add_time(its: Tried, times: Deadlines[Tried], promise: Failover) -> None:
    client = its.client
    if client.sent_ns is None or (client.outcome != "timed_out" and not its.served):
        return
    within_ns = int(_within_s(its, promise) * 1e9)
    begun_ns = client.end_ns if client.head_ns is None else client.head_ns
    if begun_ns - client.sent_ns <= within_ns:
        if its.served:
            times.met += 1
    elif its.start.is_quiet(client.sent_ns, client.sent_ns + within_ns, within_ns):
        times.missed.append(its)
    else:
        times.noisy += 1


def _within_s(its: Tried, promise: Failover) -> float:
    return answered_within_s(promise, its.fault, its.start.info.settings.timeout_s)


def _accused(tally: _Tally, promise: Failover) -> tuple[str, Witness] | None:
    if tally.unserved:
        its = tally.unserved[0]
        client = its.client
        got = f"status {client.status}" if client.status else "no answer"
        if client.outcome == "answered":
            got = "an answer that is not whole"
        sentence = (
            f"{names_of(its.failing)} failed ({its.fault}) while another one was well, and the "
            f"client of nonce {client.nonce} received {got}."
        )
        return "not served", shown(its, sentence)
    if late := tally.late:
        its = late[0]
        sent, client = its.client.sent_ns or 0, its.client
        waited = witness.seconds((client.head_ns or client.end_ns) - sent)
        sentence = (
            f"{len(late)} times of {len(late)} a request that met "
            f"{its.fault} waited longer than {_within_s(its, promise):g} s for its answer to "
            f"begin; nonce {client.nonce} waited {waited}."
        )
        more = (witness.nonce_line(other.played, other.client) for other in late[1:])
        return "served late", shown(its, sentence, *more)
    return None


SERVED = Check(
    id="failover/served",
    promise=Failover,
    scenarios=SCENARIOS,
    timed=True,
    needs_target=one_server,
    judge=_served,
    promised="A request whose instance fails in a promised way is served by another one, whole and "
    "in time.",
    proved="The evidence has a failed call of the request (or the port of its instance was "
    "closed), no call of it failed anywhere else, and its client received an error, or an answer "
    "that is not whole; or three times of three an answer of one mode began later than "
    "`within_s` after its request.",
    doubt="In the router's favour: only as many instances fail as the promised attempts can pass "
    "over; after a silent provider the answer may take twice the configured timeout; a wait in "
    "which either side stalled for a tenth of the time proves nothing. Inconclusive where no "
    "request met a promised failure, and of a closed port where its instance had served nothing "
    "before.",
    bug="Fallbacks that are never asked after a cut, a stall or a reset: BerriAI/litellm #40404 "
    "and #35578.",
    fix="Decide on a failure in one place, before anything was sent to the client, and try the "
    "next instance from there.",
)
