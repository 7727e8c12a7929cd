"""The slots come back: slots/return-after-KIND, for every way in which a request can end. Pure.

Decides whether fewer calls than the cap were let in after requests that ended in one way, though
as many as the cap had been let in before. Refuses to know why.

Direction of doubt: everything that a fake had open counts as a busy slot. It takes two probes in
a row in which every settled look shows at least one busy slot and yet fewer than the cap, while
more clients than that waited: none at all may be a breaker, and is inconclusive. Without a full
house before, or without an ending of the kind that the evidence has, nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fake_providers.evidence import Call
from routerspec.checks import found, holding, slots, witness
from routerspec.checks.check import Check, needs_cap
from routerspec.history import History, PlayedRound, StartHistory
from routerspec.observations import Look, Observation
from routerspec.promises import Cap, Promises
from routerspec.verdict import CheckResult, Witness

PROBES = 2
"""Probes with lost slots that it takes to accuse."""

KINDS = {
    "error": "an error of its provider",
    "reset": "a connection that the provider reset before its answer",
    "timeout": "a provider that did not answer in time",
    "malformed": "an answer of the provider that breaks off in the midst of its JSON",
    "cut": "a stream that the provider reset half-way",
    "hang-up-queued": "a client that left while it waited for a slot",
    "hang-up-before-head": "a client that left its stream before the first byte",
    "hang-up-mid-stream": "a client that left its stream after the first piece",
    "hang-up-non-streaming": "a client that left while its answer was being made",
}
SCENARIOS = tuple(f"after-{kind}" for kind in KINDS)


def returned(kind: str, history: History, promises: Promises) -> CheckResult:
    """As many slots after requests of this ending as before.

    Doubt: as the module says.
    """
    id_ = f"slots/return-after-{kind}"
    cap = promises.cap
    assert cap is not None
    probed: dict[str, int] = {}
    reason = "never tried"
    for start in history.starts:
        limit = start.info.settings.cap
        rounds = start.played(f"after-{kind}")
        caused = [played for played in rounds if played.round.part == "cause"]
        if limit is None or f"after-{kind}" not in start.scenarios:
            continue
        if not caused or not _full_before(start, caused[0], limit):
            reason = "the house was not full before it: nothing can be told from what comes after"
            continue
        if not any(_ended_so(kind, start, client) for client in caused[0].observations):
            reason = f"never exercised: no request ended in {KINDS[kind]}"
            continue
        probes = [played for played in rounds if played.round.part == "probe"]
        counts = [_busy(played) for played in probes]
        probed = {f"probe_{number}": count for number, count in enumerate(counts, start=1)}
        if any(count >= limit for count in counts):
            return found.held(id_, f"all {limit} slots came back", probed)
        short = [played for played in probes if _is_short(start, played, cap, limit)]
        if len(short) >= PROBES:
            shown = _witness(kind, start, caused[0], short[:PROBES], limit)
            summary = f"{max(counts)} of {limit} slots came back"
            return found.violated(id_, summary, shown, probed)
        reason = f"{max(counts, default=0)} of {limit} slots were seen busy, which may have causes"
    if not _has_mode(kind, history):
        return found.not_applicable(id_, "no route has the mode for it")
    return found.inconclusive(id_, reason, probed)


def _full_before(start: StartHistory, caused: PlayedRound, limit: int) -> bool:
    """The last probe of this start before it, of whichever scenario, reached the cap."""
    probes = [
        played
        for played in start.played(*SCENARIOS)
        if played.round.part in {"before", "probe"} and played.from_ns < caused.from_ns
    ]
    return bool(probes) and _busy(probes[-1]) >= limit


def _has_mode(kind: str, history: History) -> bool:
    streams = {"cut", "hang-up-before-head", "hang-up-mid-stream"}
    return any(mode == ("stream" if kind in streams else "chat") for _, mode in history.cells)


def _ended_so(kind: str, start: StartHistory, client: Observation) -> bool:
    """The evidence has it: the request ended as it was meant to."""
    calls = start.calls_of.get(client.nonce, ())
    if kind == "hang-up-queued":
        return client.outcome == "hung_up" and not calls
    if kind.startswith("hang-up"):
        return client.outcome == "hung_up" and bool(calls)
    return any(_FAILED[kind](call) for call in calls)


_FAILED: dict[str, Callable[[Call], bool]] = {
    "error": lambda call: call.status is not None and call.status >= 500,
    "reset": lambda call: call.ended_by == "cut" and call.head_ns is None,
    "cut": lambda call: call.ended_by == "cut" and call.head_ns is not None,
    "malformed": lambda call: call.head_ns is not None,
    "timeout": lambda call: call.ended_by == "peer",
}


def _busy(played: PlayedRound) -> int:
    return max((_open_at(look) for look in played.looks), default=0)


def _open_at(look: Look) -> int:
    """Calls that the fakes had open at a look, held or not, ours or not."""
    return max(sum(look.open.values()), len(look.held))


def _is_short(start: StartHistory, played: PlayedRound, cap: Cap, limit: int) -> bool:
    settled = [look for look in played.looks if look.settled]
    return bool(settled) and all(
        _open_at(look) > 0 and slots.has_room(start, played, look, cap, limit) for look in settled
    )


def _witness(
    kind: str, start: StartHistory, caused: PlayedRound, short: list[PlayedRound], limit: int
) -> Witness:
    facts = [witness.where(start, caused)]
    facts += [
        f"nonce {client.nonce}: {witness.client_line(caused, client)}"
        for client in caused.observations
        if _ended_so(kind, start, client)
    ][:3]
    for played in short:
        look = [look for look in played.looks if look.settled][-1]
        facts.append(witness.where(start, played))
        facts.append(
            f"settled look {witness.at(played, look.at_ns)}: {_open_at(look)} calls open at the "
            f"fakes, {len(set(look.waiting))} clients fully written and waiting"
        )
        facts += [
            witness.call_line(start, played, call) for call in holding.held_at(start, look)[:2]
        ]
    return Witness(
        sentence=(
            f"The cap is {limit} and was reached; after {KINDS[kind]} fewer slots were used in "
            f"{len(short)} probes, though clients waited and every earlier call was over."
        ),
        facts=tuple(facts),
    )


_BUGS = {
    "error": "BerriAI/litellm #20256 (502 and 504 keep the slot until Redis is reset), "
    "falabellamichael/SignalR.E.A.C.H #11.",
    "reset": "BerriAI/litellm #1477 and #17323.",
    "timeout": "BerriAI/litellm #20256: max_parallel_requests deadlocks a key after timeouts.",
    "malformed": "BerriAI/litellm #1477: a malformed request leaks its slot.",
    "cut": "falabellamichael/SignalR.E.A.C.H #11: streaming failures leak slots until the relay "
    "answers 503 for ever.",
    "hang-up-queued": "sgl-project/sglang PR #31907: tokens leak and wakeups are lost; CPython's "
    "own Semaphore had it.",
    "hang-up-before-head": "Wei-Shaw/claude-relay-service PR #1062: a promise never settles.",
    "hang-up-mid-stream": "BerriAI/litellm #27955 and PR #30020; Tr3kkR/Yuzu #2740.",
    "hang-up-non-streaming": "Avarok atlas #368: disconnects of non-streaming requests leak slots.",
}


def _needs(kind: str, promises: Promises) -> str:
    if reason := needs_cap(promises):
        return reason
    assert promises.cap is not None
    if kind == "hang-up-queued" and promises.cap.overload != "queue":
        return "a full router refuses: nobody waits for a slot"
    return ""


CHECKS = tuple(
    Check(
        id=f"slots/return-after-{kind}",
        needs=partial(_needs, kind),
        scenarios=(f"after-{kind}",),
        start="hasty" if kind == "timeout" else "",
        judge=partial(returned, kind),
        promised=f"The slot of a request comes back after {what}.",
        proved="The house is seen full; fewer requests than the cap end in that way; every call is "
        "over and the fakes are idle. Then five times the cap is offered and held, twice: both "
        "times every settled look shows fewer calls open than the cap, and at least one, while "
        "more clients than that wait.",
        doubt="In the router's favour: whatever a fake has open counts as a used slot. None at all "
        "may be a circuit breaker: inconclusive, after `recovery_s`. So is a house that was not "
        "full before.",
        bug=f"Slots lost for good, mostly without a word in any log: {_BUGS[kind]}",
        fix="Release in a `finally` (or `async with`) that every ending goes through, cancellation "
        "too, and nowhere else.",
    )
    for kind, what in KINDS.items()
)
