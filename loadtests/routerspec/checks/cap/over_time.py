"""The cap and what limiters get wrong: over-time, after-failures, attempts, replicas. Pure.

Decides, by the proofs of ``checks.holding``, whether more calls than the cap were held at once
after a limiter's window had passed, after requests had failed, when calls were tried again, and
over several processes. Refuses to know what the limiter is made of.

Direction of doubt: as ``checks.cap``: a call that cannot be proven open at two looks, with its
client waiting, is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable

from routerspec.checks import held_calls, results
from routerspec.checks.cap import at_rest as caps
from routerspec.checks.check import Check, needs_cap
from routerspec.checks.slots import return_after
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Cap, Promises
from routerspec.verdict import Finding, Outcome

LONGER_THAN_A_WINDOW_NS = 2_500_000_000
_ALL: Cell = ("", "")
_FAILING = tuple(
    name for name in return_after.SCENARIOS if name not in {"after-timeout", "after-hang-up-queued"}
)


def over_time(history: History, promises: Promises) -> Finding:
    """Nothing more is let in while cap are held for longer than a limiter's window.

    Doubt: as the module says; the house must have been full at the end, with others waiting, and
    of the very calls that had filled it longer than a window ago.
    """
    cap = promises.cap
    assert cap is not None
    tallies = caps.tally(history, cap, "hold-long", held_calls.saturated)
    result = caps.judge_tallies(tallies, list(tallies) or [_ALL])
    if result.outcome is Outcome.HELD and not any(
        _full_for_long(start, played, cap) for start, played in history.rounds("hold-long")
    ):
        reason = "never exercised: no full house of calls that had been open for 2.5 s was seen"
        return results.inconclusive(reason, result.numbers)
    return result


def _full_for_long(start: StartHistory, played: PlayedRound, cap: Cap) -> bool:
    """A settled look at as many calls as the cap, all open for longer than a limiter's window."""
    return any(
        snapshot.settled
        and held_calls.most_seen(start, snapshot, cap) == start.info.settings.cap
        and all(
            snapshot.at_ns - call.read_ns >= LONGER_THAN_A_WINDOW_NS
            for call in held_calls.held_at(start, snapshot)
        )
        for snapshot in played.snapshots
    )


def after_failures(history: History, promises: Promises) -> Finding:
    """After errors, resets, cuts and hang-ups the cap is still the cap.

    Doubt: as the module says; a full house must have been seen after at least one of them.
    """
    assert promises.cap is not None
    tallies = _merged(history, promises.cap, _FAILING, _full_probe)
    return caps.judge_tallies(tallies, [_ALL])


def _full_probe(start: StartHistory, played: PlayedRound, cap: Cap, limit: int) -> bool:
    return played.round.part == "probe" and held_calls.saturated(start, played, cap, limit)


def attempts(history: History, promises: Promises) -> Finding:
    """Calls that are tried again count like any other: retries and fallbacks hold a slot too.

    Doubt: as the module says. Where no failed call was tried again there is nothing to count.
    """
    assert promises.cap is not None
    rounds = list(history.rounds("attempts"))
    again = [
        call
        for start, played in rounds
        for client in played.observations
        for call in start.calls_of.get(client.nonce, ())
        if call.attempt > 1
    ]
    if rounds and not again:
        return results.not_applicable("no failed call was tried again")
    tallies = caps.tally(history, promises.cap, "attempts", held_calls.saturated)
    return caps.judge_tallies(tallies, list(tallies) or [_ALL])


def replicas(history: History, promises: Promises) -> Finding:
    """The cap is one cap over all processes and replicas.

    Doubt: as the module says. Every request has a connection of its own, so that they are spread.
    """
    assert promises.cap is not None
    tallies = _merged(history, promises.cap, ("spread",), held_calls.saturated)
    return caps.judge_tallies(tallies, [_ALL])


def _merged(
    history: History, cap: Cap, scenarios: Iterable[str], filled: caps.Filled
) -> dict[Cell, caps.Tally]:
    """All rounds of these scenarios as one cell."""
    tallies = [
        tally
        for scenario in scenarios
        for tally in caps.tally(history, cap, scenario, filled).values()
    ]
    return {_ALL: caps.merge_tallies(tallies)} if tallies else {}


def _needs_replicas(promises: Promises) -> str:
    if reason := needs_cap(promises):
        return reason
    return "" if promises.workers > 1 else "one process: there is nothing to share the cap with"


_PROOF = (
    "Two looks at least 250 ms apart both name more held calls than the cap, with their sockets "
    "open and all their clients still waiting"
)

CHECKS = (
    Check(
        id="cap/over-time",
        needs=needs_cap,
        scenarios=("hold-long",),
        judge=over_time,
        promised="While as many calls as the cap are open, nothing more is let in, however long.",
        proved=f"Five times the cap is offered and held for more than 2.5 s. {_PROOF}.",
        doubt="In the router's favour, as cap/each-route. Inconclusive where the house was not "
        "full at the end with somebody waiting.",
        bug="A token bucket, or a counter with a window, for a semaphore: vllm-project/router "
        "#280 (its own test passed with a gap of 0.4 s), BerriAI/litellm PR #32441. Hedged "
        "requests that nobody counts.",
        fix="Count what is in flight, not what has begun: a permit is held until its call is over.",
    ),
    Check(
        id="cap/after-failures",
        needs=needs_cap,
        scenarios=_FAILING,
        judge=after_failures,
        promised="After requests that failed or were left, the cap is what it was.",
        proved=f"Requests end in errors, resets, cuts and hang-ups; then the cap is probed. "
        f"{_PROOF}.",
        doubt="In the router's favour, as cap/each-route. Inconclusive unless a full house was "
        "seen after at least one of them.",
        bug="The permit is released in the error's handler and in the finally: sgl-project/sglang "
        "PR #31907, BerriAI/litellm PR #28160.",
        fix="Release in one place, once: `async with`, or a release that knows it was made.",
    ),
    Check(
        id="cap/attempts",
        needs=needs_cap,
        scenarios=("attempts",),
        judge=attempts,
        promised="A call that is tried again counts against the cap.",
        proved=f"Every first call fails, every second one is held. {_PROOF}.",
        doubt="In the router's favour, as cap/each-route. Not applicable where no failed call was "
        "tried again.",
        bug="The retry is made after the permit was given back, or by a layer below the limiter: "
        "maximhq/bifrost #7035, BerriAI/litellm PR #25285 (attempts multiply, uncounted).",
        fix="Hold one permit over all attempts, or take one for each.",
    ),
    Check(
        id="cap/replicas",
        needs=_needs_replicas,
        scenarios=("spread",),
        judge=replicas,
        promised="The cap is one cap over all worker processes and replicas.",
        proved="Ten times the cap is offered, each request on a connection of its own and a moment "
        f"after the one before, so that the workers share them. {_PROOF}.",
        doubt="In the router's favour, as cap/each-route.",
        bug="A semaphore in each worker: the cap times the number of workers reaches the provider: "
        "BerriAI/litellm #27900 and every limiter that lives in one process.",
        fix="Keep the permits where all workers see them, or state the cap per process.",
    ),
)
