"""The cap and what limiters get wrong: cap/over-time, after-failures, attempts, replicas.

The proof is that of ``checks.held_calls`` and ``checks.cap.at_rest``.
"""

from __future__ import annotations

from collections.abc import Iterable

from routerspec.checks import held_calls, results
from routerspec.checks.cap.at_rest import ALL, PROOF, Filled, Tally, judge_tallies, merged, tally
from routerspec.checks.check import Check
from routerspec.checks.slots import return_after
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Cap, Promises
from routerspec.verdict import Finding, Outcome

LONGER_THAN_A_WINDOW_NS = 2_500_000_000
_FAILING = tuple(
    name for name in return_after.SCENARIOS if name not in {"after-timeout", "after-hang-up-queued"}
)


def _over_time(history: History, cap: Cap) -> Finding:
    tallies = tally(history, cap, "hold-long", held_calls.saturated)
    finding = judge_tallies(tallies, list(tallies) or [ALL])
    if finding.outcome is Outcome.HELD and not any(
        _full_for_long(start, played, cap) for start, played in history.rounds("hold-long")
    ):
        return results.never_exercised(
            "no snapshot shows all slots occupied by calls that had been open for 2.5 s",
            finding.numbers,
        )
    return finding


def _full_for_long(start: StartHistory, played: PlayedRound, cap: Cap) -> bool:
    """A settled snapshot of as many calls as the cap, all open for longer than a window."""
    return any(
        snapshot.settled
        and held_calls.most_at(start, snapshot, cap) == start.info.settings.cap
        and all(
            snapshot.at_ns - call.read_ns >= LONGER_THAN_A_WINDOW_NS
            for call in held_calls.held_at(start, snapshot)
        )
        for snapshot in played.snapshots
    )


def _after_failures(history: History, cap: Cap) -> Finding:
    return judge_tallies(_as_one(history, cap, _FAILING, _full_probe), [ALL])


def _full_probe(start: StartHistory, played: PlayedRound, cap: Cap, limit: int) -> bool:
    return played.round.part == "probe" and held_calls.saturated(start, played, cap, limit)


def _attempts(history: History, cap: Cap) -> Finding:
    rounds = list(history.rounds("attempts"))
    if rounds and not any(
        call.attempt > 1
        for start, played in rounds
        for call in start.calls_for(played.observations)
    ):
        return results.not_applicable("no failed call was tried again")
    tallies = tally(history, cap, "attempts", held_calls.saturated)
    return judge_tallies(tallies, list(tallies) or [ALL])


def _replicas(history: History, cap: Cap) -> Finding:
    return judge_tallies(_as_one(history, cap, ("spread",), held_calls.saturated), [ALL])


def _as_one(
    history: History, cap: Cap, scenarios: Iterable[str], filled: Filled
) -> dict[Cell, Tally]:
    """All rounds of these scenarios as one cell."""
    tallies = [its for name in scenarios for its in tally(history, cap, name, filled).values()]
    return {ALL: merged(tallies)} if tallies else {}


def _one_process(promises: Promises) -> str:
    return "" if promises.workers > 1 else "one process: there is nothing to share the cap with"


OVER_TIME = Check(
    id="cap/over-time",
    promise=Cap,
    scenarios=("hold-long",),
    judge=_over_time,
    promised="While as many calls as the cap are open, no other is let in, however long they last.",
    proved=f"Five times the cap is offered and held for more than 2.5 s. {PROOF}",
    doubt="In the router's favour, as in cap/each-route. Inconclusive unless all slots were "
    "occupied at the end, by calls open for 2.5 s, with other clients waiting.",
    bug="A token bucket, or a counter with a window, used as a semaphore: vllm-project/router "
    "#280 (its own test passed with a gap of 0.4 s), BerriAI/litellm PR #32441. Hedged "
    "requests that are not counted.",
    fix="Count the calls in flight, not the calls begun: hold the slot until the call is over.",
)
AFTER_FAILURES = Check(
    id="cap/after-failures",
    promise=Cap,
    scenarios=_FAILING,
    judge=_after_failures,
    promised="Failed or abandoned requests do not change the cap.",
    proved=f"Requests end in errors, resets, cut streams and client disconnects; then the cap is "
    f"probed. {PROOF}",
    doubt="In the router's favour, as in cap/each-route. Inconclusive unless all slots were "
    "occupied in a probe after at least one of them.",
    bug="The slot is released in the error handler and again in the `finally`: "
    "sgl-project/sglang PR #31907, BerriAI/litellm PR #28160.",
    fix="Release in one place, once: `async with`, or an idempotent release.",
)
ATTEMPTS = Check(
    id="cap/attempts",
    promise=Cap,
    scenarios=("attempts",),
    judge=_attempts,
    promised="A retried call counts against the cap.",
    proved=f"Every first attempt fails, every second one is held. {PROOF}",
    doubt="In the router's favour, as in cap/each-route. Not applicable where the router retried "
    "no failed call.",
    bug="The retry is made after the slot was released, or in a layer below the limiter: "
    "maximhq/bifrost #7035, BerriAI/litellm PR #25285 (attempts multiply, uncounted).",
    fix="Hold one slot over all attempts, or acquire one for each.",
)
REPLICAS = Check(
    id="cap/replicas",
    promise=Cap,
    exempt=_one_process,
    scenarios=("spread",),
    judge=_replicas,
    promised="All worker processes and replicas share one cap.",
    proved="Ten times the cap is offered, each request on a connection of its own and a moment "
    f"after the one before, so that every worker gets some. {PROOF}",
    doubt="In the router's favour, as in cap/each-route.",
    bug="A semaphore in each worker process: the cap times the number of workers reaches the "
    "provider: BerriAI/litellm #27900 and every limiter that lives in one process.",
    fix="Keep the count where all workers see it, or state the cap per process.",
)
