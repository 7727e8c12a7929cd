"""The cap and what limiters get wrong: cap/over-time, after-failures, attempts.

The proof is that of ``checks.held_calls`` and ``checks.cap.at_rest``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate

from routerspec.checks import held_calls, results, retried, witness
from routerspec.checks.cap.at_rest import ALL, PROOF, Filled, Tally, judge_tallies, merged, tally
from routerspec.checks.check import Check
from routerspec.checks.slots import return_after
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Cap
from routerspec.verdict import Finding, Outcome

LONGER_THAN_A_WINDOW_NS = 2_500_000_000
IDLE_NS = 200_000_000
"""Slots that are kept so long from waiting clients are worth a word; a hand-over is quicker."""
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
            snapshot.taken_ns(call.provider) - call.read_ns >= LONGER_THAN_A_WINDOW_NS
            for call in held_calls.held_at(start, snapshot)
        )
        for snapshot in played.snapshots
    )


def _after_failures(history: History, cap: Cap) -> Finding:
    return judge_tallies(_as_one(history, cap, _FAILING, _full_probe), [ALL])


def _full_probe(start: StartHistory, played: PlayedRound, cap: Cap, limit: int) -> bool:
    return played.round.part == "probe" and held_calls.saturated(start, played, cap, limit)


def _attempts(history: History, cap: Cap) -> Finding:
    tallies = tally(history, cap, "attempts", held_calls.saturated)
    finding = judge_tallies(tallies, list(tallies) or [ALL])
    rounds = list(history.rounds("attempts"))
    if finding.outcome is Outcome.VIOLATED or not rounds:
        return finding
    again = [call for s, p in rounds for call in s.calls_for(p.observations) if call.attempt > 1]
    found = () if again else tuple(retried.chains(history, "attempts", direct=frozenset()))
    changed = Counter(
        {
            "with an empty body": retried.count_empty(c for its in found for c in its.chains),
            "with another body": sum(map(retried.other_bodies, found)),
        }
    )
    if not again and not changed.total():
        return results.not_applicable("no failed call was tried again")
    if not again:
        return results.never_exercised(
            f"failed calls were tried again, but {retried.in_words(changed)}, so that none of "
            "these was an attempt that the provider holds",
            finding.numbers,
        )
    if finding.outcome is Outcome.INCONCLUSIVE and (idle := _idle(rounds)):
        return replace(finding, reason=f"{finding.reason}; {idle}")
    return finding


def _idle(rounds: Iterable[tuple[StartHistory, PlayedRound]]) -> str:
    """How long all slots were kept from waiting clients by retries that had not begun yet."""
    longest = max((_nothing_open(start, played) for start, played in rounds), default=(0, 0))
    if longest[0] < IDLE_NS:
        return ""
    return (
        f"between the failed first attempts and the second ones no call was open for "
        f"{witness.seconds(longest[0])} while {longest[1]} clients waited, as where a retry keeps "
        "its slot while it waits"
    )


def _nothing_open(start: StartHistory, played: PlayedRound) -> tuple[int, int]:
    """(the longest time with nothing open between a failed call and the next one, clients that
    waited then), before the gate is opened.
    """
    calls = sorted(start.calls_for(played.observations), key=lambda call: call.read_ns)
    released_ns = played.released_ns("gate") or played.until_ns
    ends = accumulate((call.outer_end_ns for call in calls), max)
    idle = [
        (min(call.read_ns, released_ns) - end_ns, end_ns)
        for end_ns, call in zip(ends, calls[1:], strict=False)
        if call.attempt > 1
    ]
    longest_ns, since_ns = max(idle, default=(0, 0))
    waiting = sum(
        client.sent_ns is not None and client.sent_ns <= since_ns < client.end_ns
        for client in played.observations
    )
    return longest_ns, waiting


def _as_one(
    history: History, cap: Cap, scenarios: Iterable[str], filled: Filled
) -> dict[Cell, Tally]:
    """All rounds of these scenarios as one cell."""
    tallies = [its for name in scenarios for its in tally(history, cap, name, filled).values()]
    return {ALL: merged(tallies)} if tallies else {}


OVER_TIME = Check(
    id="cap/over-time",
    promise=Cap,
    scenarios=("hold-long",),
    judge=_over_time,
    compares_clocks=False,
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
    compares_clocks=False,
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
    "no failed call. Inconclusive where its retries have another body, or none, and so are not "
    "held; where slots stay idle while a retry waits, the reason says for how long.",
    bug="The retry is made after the slot was released, or in a layer below the limiter: "
    "maximhq/bifrost #7035, BerriAI/litellm PR #25285 (attempts multiply, uncounted).",
    fix="Hold one slot over all attempts, or acquire one for each.",
)
