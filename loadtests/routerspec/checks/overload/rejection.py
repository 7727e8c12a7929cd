"""The answer of a saturated router: overload/answer, overload/retry-after, overload/json-error.

Clients count as one too many in a queue only if the same two snapshots show them waiting, for two
seconds or half of the queue's timeout: a client that is refused sooner was refused.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import Check
from routerspec.checks.overload import saturation
from routerspec.checks.overload.saturation import Saturated
from routerspec.history.history import History
from routerspec.limits import (
    LARGEST_QUEUE,
    LONGEST_QUEUE_S,
    TRIES,
    kept_waiting_s,
    queue_patience_s,
    tried,
)
from routerspec.promises import Cap, Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Kind, Number, Witness

ODD = 2
"""Refusals other than promised that it takes to accuse: a single one may be an accident."""


EARLY = 0.5
"""Of the queue's timeout: a client that was refused sooner was not refused by it."""


def _answer(history: History, promised: Cap) -> Finding:
    rounds = list(saturation.saturated_rounds(history, promised))
    numbers: dict[str, Number] = {
        "houses": len(rounds),
        "refused": sum(len(saturated.refused) for saturated in rounds),
        "waiting": max((len(saturated.waiting) for saturated in rounds), default=0),
    }
    if not rounds:
        return results.never_exercised("not all slots were occupied in any round", numbers)
    doubts: list[str] = []
    for saturated in rounds:
        for judge, summary in _PARTS:
            found = judge(saturated, promised)
            if isinstance(found, Witness) and judge in _OF_REFUSALS:
                statuses = {client.status for client in saturated.refused}
                found = saturation.other_limit(history, statuses) or found
            if isinstance(found, Witness):
                return results.violated(summary, found, numbers)
            if found:
                doubts.append(found)
    if doubts:
        return results.inconclusive(doubts[0], numbers)
    return results.held(f"{numbers['refused']} refused as promised", numbers)


def _odd(saturated: Saturated, promised: Cap) -> Witness | str:
    """Clients that were turned away in another way than promised."""
    odd = [
        client
        for client in saturated.outside
        if saturated.before(client)
        and (client.outcome == "failed" or client in saturated.refused)
        and client.status not in promised.rejections
    ]
    statuses = " or ".join(map(str, promised.reject_status))
    if len(odd) >= ODD:
        return saturation.witness_of(
            saturated,
            odd,
            f"All slots were occupied, and {len(odd)} clients were turned away without {statuses}.",
        )
    return f"one client was turned away without {statuses}" if odd else ""


def _crowded(saturated: Saturated, promised: Cap) -> Witness | str:
    """Clients that waited although the queue had no place for them."""
    cap = tried(promised)
    capacity = 0 if cap.overload == "reject" else cap.queue_limit
    if capacity is None:
        return ""
    long_s = kept_waiting_s(None if cap.overload == "reject" else cap.queue_timeout_s)
    kept = [c for c in saturated.outside if saturated.waited_ns(c) >= long_s * 1e9]
    proven = _in_two_snapshots(saturated, kept)
    enough = max(capacity + 1, TRIES) if cap.overload == "reject" else capacity + 1
    may = f"at most {capacity} clients" if capacity else "no client"
    if len(proven) >= enough:
        return saturation.witness_of(
            saturated,
            proven,
            f"All slots were occupied and {may} may wait, but {len(proven)} did, for {long_s:g} s "
            "or longer.",
        )
    if len(saturated.waiting) > capacity:
        return f"{may} may wait, {len(saturated.waiting)} did, but not provably for {long_s:g} s"
    if saturated.refused:
        return ""
    return "never exercised: no client was refused while all slots were occupied"


def _in_two_snapshots(saturated: Saturated, clients: list[Observation]) -> list[Observation]:
    """The most of them that the same two snapshots, far enough apart, show waiting."""
    both = (
        set(first.waiting) & set(second.waiting)
        for first, second in combinations(saturated.played.snapshots, 2)
        if held_calls.are_apart(first, second)
    )
    return max(
        ([c for c in clients if c.nonce in waiting] for waiting in both), key=len, default=[]
    )


def _early(saturated: Saturated, promised: Cap) -> Witness | str:
    """Clients that were refused long before the queue's timeout, with places left."""
    if promised.overload != "queue" or promised.queue_timeout_s is None:
        return ""
    timeout_s, places = promised.queue_timeout_s, promised.queue_limit
    soon_ns = EARLY * timeout_s * 1e9
    early = [c for c in saturated.refused if c.end_ns - c.started_ns < soon_ns]
    # However they came and went: as many as the queue could not hold may have been refused.
    too_many = 0 if places is None else max(0, len(saturated.kept_out) - places)
    spared = len(early) - too_many
    if spared >= ODD:
        slowest = witness.seconds(max(c.end_ns - c.started_ns for c in early))
        held = "any number of" if places is None else f"{places}"
        return saturation.witness_of(
            saturated,
            early,
            f"All slots were occupied, and of {len(saturated.kept_out)} clients {len(early)} were "
            f"refused within {slowest}, at least {spared} of them with places left in the queue: "
            f"it is promised to hold {held} clients for {timeout_s:g} s each.",
        )
    return "one client was refused at once with places left in the queue" if spared > 0 else ""


def _overdue(saturated: Saturated, promised: Cap) -> Witness | str:
    """Clients that the queue's timeout should have refused."""
    cap = tried(promised)
    if cap.overload != "queue" or cap.queue_timeout_s is None:
        return ""
    patience_ns = round(queue_patience_s(cap.queue_timeout_s) * 1e9)
    late = [c for c in saturated.outside if saturated.waited_ns(c) > patience_ns]
    in_time = [c for c in saturated.refused if c not in late]
    if len(late) >= TRIES:
        first_ns = min(c.sent_ns or 0 for c in late)
        deadline_ns = cap.queue_timeout_s * 1e9
        if saturated.start.is_quiet(first_ns, saturated.released_ns, deadline_ns):
            return saturation.witness_of(
                saturated,
                late,
                f"The queue's timeout is promised to be {cap.queue_timeout_s:g} s, but {len(late)} "
                f"clients waited for more than {witness.seconds(patience_ns)}.",
            )
    if late:
        return (
            f"{len(late)} clients exceeded the queue's timeout; {TRIES} are needed, without a stall"
        )
    return "" if in_time else "never exercised: no client was refused by the queue's timeout"


_PARTS = (
    (_odd, "refused with a status that is not promised"),
    (_early, "clients are refused at once although the queue has places"),
    (_crowded, "more clients wait than promised"),
    (_overdue, "clients wait beyond the queue's timeout"),
)
_OF_REFUSALS = (_odd, _early)
"""What another limit than the cap may have refused."""


def _retry_after(history: History, cap: Cap) -> Finding:
    return _carried(history, cap, "a Retry-After", lambda client: bool(client.retry_after))


def _json_error(history: History, cap: Cap) -> Finding:
    return _carried(history, cap, "a JSON error", lambda client: client.json_error)


def _carried(history: History, cap: Cap, what: str, has: Callable[[Observation], bool]) -> Finding:
    read = 0
    for saturated in saturation.saturated_rounds(history, cap):
        refused = [c for c in saturated.refused if c.status in cap.rejections]
        read += len(refused)
        without = [client for client in refused if not has(client)]
        if len(without) >= ODD:
            sentence = f"{len(without)} refusals by a saturated router came without {what}."
            shown = saturation.witness_of(saturated, without, sentence)
            return results.violated(f"without {what}", shown, {"refused": read})
    if read < ODD:
        return results.too_few(read, "clients were refused by a saturated router", ODD)
    return results.held(f"{read} refusals, each with {what}", {"refused": read})


def _never_refuses(promises: Promises) -> str:
    cap = promises.cap
    if cap is None or cap.overload == "reject":
        return ""
    bound, timeout_s = tried(cap).queue_limit, tried(cap).queue_timeout_s
    if bound is not None or timeout_s is not None:
        return ""
    untried = []
    if cap.queue_limit is not None:
        untried.append(f"a queue of more than {LARGEST_QUEUE} is not filled")
    if cap.queue_timeout_s is not None:
        untried.append(f"a queue timeout of more than {LONGEST_QUEUE_S:g} s is not waited for")
    return ", ".join(untried) or "a queue is promised, without a bound or a timeout"


_SATURATED = "All slots are held, clients come, and no provider receives anything of them."

ANSWER = Check(
    id="overload/answer",
    promise=Cap,
    exempt=_never_refuses,
    scenarios=("overload",),
    judge=_answer,
    promised="A saturated router answers with a promised status (`cap.reject_status`; 529 counts "
    "as 503): at once where it rejects; beyond `cap.queue_limit` and after `cap.queue_timeout_s` "
    "where it queues.",
    proved=f"{_SATURATED} At least two are refused with another status or none; or two snapshots "
    "show more clients waiting than the queue may hold, for two seconds (half the timeout, if that "
    "is less); or, with a timeout promised, at least two more than the queue cannot hold are "
    "refused within half of it; or three wait for half as long again as the timeout (half a "
    "second longer, at least).",
    doubt="In the router's favour: a client that was refused sooner was not one too many; as "
    "many early refusals as there were clients too many are sound, and so is any refusal by a "
    "queue without a stated timeout. Refusals by a queue do not accuse where as many requests, one "
    "at a time, are refused with the same status: that is another limit. A timeout does not accuse "
    "during a self-reported stall. Inconclusive where no client was refused.",
    bug="A queue without an end, one that is configured and never used, a bound that counts the "
    "wrong requests, an overload that reads as a fault: ollama/ollama #7758 and PR #4144, "
    "mostlygeek/llama-swap PR #123.",
    fix="Bound the queue where requests wait for the slot, and refuse with 429 or 503, clients "
    "of Anthropic with 429 or 529.",
)
RETRY_AFTER = Check(
    id="overload/retry-after",
    kind=Kind.SHOULD,
    promise=Cap,
    exempt=_never_refuses,
    scenarios=("overload",),
    judge=_retry_after,
    promised="A refusal by a saturated router carries Retry-After.",
    proved=f"{_SATURATED} At least two are refused with a promised status and no Retry-After.",
    doubt="In the router's favour: any value will do, and only refusals with a promised status "
    "count.",
    bug="Clients that receive no Retry-After retry at once, or for ever: BerriAI/litellm #27823 "
    "and #37754.",
    fix="Send Retry-After with every 429, 503 and 529 of your own.",
)
JSON_ERROR = Check(
    id="overload/json-error",
    kind=Kind.SHOULD,
    promise=Cap,
    exempt=_never_refuses,
    scenarios=("overload",),
    judge=_json_error,
    promised="A refusal by a saturated router is a JSON error that client libraries can read.",
    proved=f"{_SATURATED} At least two are refused with a promised status and a body that is no "
    "JSON object with an `error`.",
    doubt="In the router's favour: any such object will do, and only refusals with a promised "
    "status count.",
    bug="Plain text or an HTML page in place of the error that every client library parses: "
    "maximhq/bifrost #3927.",
    fix="Answer overload in the same format as every other error.",
)
