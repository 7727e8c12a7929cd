"""The fallback really is asked, and once: failover/asked."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from fake_providers.records.evidence import Call
from routerspec.checks import cells, results
from routerspec.checks.check import Check
from routerspec.checks.failover.tried import (
    Tried,
    names_of,
    one_server,
    only_direct,
    tried,
    witness_of,
)
from routerspec.history.history import History
from routerspec.limits import REFUSED
from routerspec.promises import Failover
from routerspec.verdict import Finding, Number, Witness

SCENARIOS = ("failover", "failover-fallback")
_DOUBLED = 2
"""Requests with a doubled call that it takes to accuse."""


@dataclass(slots=True)
class _Tally:
    """What was seen of one fault."""

    once: int = 0
    never: list[Tried] = field(default_factory=list)
    doubled: list[Tried] = field(default_factory=list)


def _asked(history: History, promise: Failover) -> Finding:
    tallies: defaultdict[tuple[str], _Tally] = defaultdict(_Tally)
    for its in only_direct(history, tried(history, *SCENARIOS)):
        if not its.met or len(its.failing) >= promise.attempts:
            continue
        tally, after = tallies[its.fault,], _after(its)
        if len(after) > 1:
            tally.doubled.append(its)
        elif after:
            tally.once += its.fault != REFUSED
        elif not its.served and not its.elsewhere and its.is_the_routers:
            tally.never.append(its)
    once = sum(its.once for its in tallies.values())
    numbers: dict[str, Number] = {fault: its.once for (fault,), its in sorted(tallies.items())}
    if not tallies:
        return results.never_exercised("no request met a failure", numbers)

    def lacks(its: _Tally | None) -> str:
        return "" if its and its.once else "never exercised: no call came after it"

    return cells.judge(
        dict(tallies),
        [(fault,) for fault in promise.on if fault != REFUSED],
        accuse=_accused,
        lacks=lacks,
        held=f"asked once after {once} failures",
        numbers=numbers,
        severity=lambda its: len(its.never) + len(its.doubled),
    )


def _after(its: Tried) -> list[Call]:
    """Calls at instances that were well, begun when the failed one was over; of a refused
    connection, any.
    """
    over = min((call.inner_end_ns for call in its.failed), default=0)
    return [call for call in its.elsewhere if call.finished and call.read_ns >= over]


def _accused(tally: _Tally) -> tuple[str, Witness] | None:
    if tally.never:
        its = tally.never[0]
        sentence = (
            f"{names_of(its.failing)} failed ({its.fault}), and no other instance was asked for "
            f"nonce {its.client.nonce}, whose client received an error."
        )
        return "nobody else asked", witness_of(its, sentence)
    if len(tally.doubled) >= _DOUBLED:
        its = tally.doubled[0]
        sentence = (
            f"After one failure ({its.fault}) instances that were well answered nonce "
            f"{its.client.nonce} {len(_after(its))} times; "
            f"{len(tally.doubled)} requests were answered more than once."
        )
        return f"asked {len(_after(its))} times", witness_of(its, sentence)
    return None


ASKED = Check(
    id="failover/asked",
    promise=Failover,
    scenarios=SCENARIOS,
    needs_target=one_server,
    judge=_asked,
    promised="After a failure of an instance another one is asked, exactly once.",
    proved="A request met a failure, its client received an error, and the evidence has no call of "
    "it anywhere else; or, of two requests, the evidence has two or more whole answers by "
    "instances that were well, begun after the failed call was over.",
    doubt="In the router's favour: only routes count on which a good request is one call, only as "
    "many instances fail as the promised attempts can pass over, and a call beside the failing one "
    "is a hedge. Inconclusive for a failure after which no call came.",
    bug="A fallback chain that is thrown away, and fallbacks that get no request: BerriAI/litellm "
    "#40404, #35578 and #29808; a request that is billed by two providers.",
    fix="Make the fallback a step of the same loop that sees the failure, and leave the loop with "
    "the first answer.",
)
