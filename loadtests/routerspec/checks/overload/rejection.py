"""The full house: overload/answer, overload/retry-after, overload/json-error. Pure.

Decides whether clients for whom there is no room are told so as the target says: with a promised
status, beyond the queue's stated bound, and after its stated timeout. What such an answer should
carry besides (Retry-After, a JSON error) is two ``should`` checks of their own. More calls than
the cap are the business of ``checks.cap``.

Direction of doubt: only clients that came while the house was seen full, and of whom no provider
saw anything before it was let go, are read. One odd refusal may be an accident: two accuse. Too
many in a queue are only those who waited at the same two looks, and for two seconds or half of the
queue's timeout: who is refused sooner was refused. A timeout accuses three times of three, in a
quiet moment, and half of itself late (half a second at least). A queue that takes fewer than its
bound, or lets go sooner than its timeout, is not accused.
"""

from __future__ import annotations

from collections.abc import Callable

from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import Check, needs_cap
from routerspec.checks.overload import saturation
from routerspec.checks.overload.saturation import FullHouse
from routerspec.history.history import History
from routerspec.limits import (
    LARGEST_QUEUE,
    LONGEST_QUEUE_S,
    kept_waiting_s,
    queue_patience_s,
    tried,
)
from routerspec.promises import Cap, Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Kind, Number, Witness

ODD = 2
"""Refusals with a status that is not promised that it takes to accuse."""
TRIES = 3
"""Clients kept waiting too long, all that could be, that it takes to accuse."""
QUIET = 0.1

_ANSWER = "overload/answer"


def answer(history: History, promises: Promises) -> Finding:
    """With the house full: a promised status; a queue within its bound and its timeout.

    Doubt: as the module says. Inconclusive unless the house was seen full and somebody was turned
    away from it, in each way that is promised.
    """
    assert promises.cap is not None
    cap = tried(promises.cap)
    houses = list(saturation.houses(history, cap))
    numbers: dict[str, Number] = {
        "houses": len(houses),
        "refused": sum(len(house.refused) for house in houses),
        "waiting": max((len(house.waiting) for house in houses), default=0),
    }
    if not houses:
        return results.inconclusive("never exercised: the house was never full", numbers)
    doubts: list[str] = []
    for house in houses:
        for part in (_odd, _crowded, _overdue):
            told = part(house, cap)
            if isinstance(told, Witness):
                return results.violated(_SUMMARIES[part.__name__], told, numbers)
            if told:
                doubts.append(told)
    if doubts:
        return results.inconclusive(doubts[0], numbers)
    return results.held(f"{numbers['refused']} refused as promised", numbers)


_SUMMARIES = {
    "_odd": "refused with a status that is not promised",
    "_crowded": "more were kept waiting than promised",
    "_overdue": "kept waiting beyond the queue's timeout",
}


def _odd(house: FullHouse, cap: Cap) -> Witness | str:
    """Those that were turned away in another way than promised."""
    odd = [
        client
        for client in house.outside
        if house.before(client)
        and (client.outcome == "failed" or client in house.refused)
        and client.status not in cap.reject_status
    ]
    promised = " or ".join(map(str, cap.reject_status))
    if len(odd) >= ODD:
        return saturation.shown(
            house,
            odd,
            f"The house was full, and {len(odd)} clients were not answered with {promised}.",
        )
    return f"one client was not answered with {promised} by a full house" if odd else ""


def _crowded(house: FullHouse, cap: Cap) -> Witness | str:
    """Those that waited although there was no room for them."""
    capacity = 0 if cap.overload == "reject" else cap.queue_limit
    if capacity is None:
        return ""
    long_s = kept_waiting_s(None if cap.overload == "reject" else cap.queue_timeout_s)
    kept = [c for c in house.outside if house.waited_ns(c) >= long_s * 1e9]
    proven = _seen_twice(house, kept)
    enough = max(capacity + 1, TRIES) if cap.overload == "reject" else capacity + 1
    if len(proven) >= enough:
        bound = "nobody is promised to be" if capacity == 0 else f"{capacity} are promised to be"
        return saturation.shown(
            house,
            proven,
            f"The house was full, {bound} kept waiting at most, and {len(proven)} were, for "
            f"{long_s:g} s and longer.",
        )
    if len(house.waiting) > capacity:
        return (
            f"{len(house.waiting)} clients waited, {capacity} may, but not provably for long enough"
        )
    return "" if house.refused else "never exercised: nobody was refused by a full house"


def _seen_twice(house: FullHouse, clients: list[Observation]) -> list[Observation]:
    """The most of them that the same two looks, far enough apart, saw waiting."""
    snapshots = house.played.snapshots
    pairs = [
        set(first.waiting) & set(second.waiting)
        for index, first in enumerate(snapshots)
        for second in snapshots[index + 1 :]
        if second.asked_ns - first.answered_ns >= held_calls.APART_NS
    ]
    seen = ([c for c in clients if c.nonce in both] for both in pairs)
    return max(seen, key=len, default=[])


def _overdue(house: FullHouse, cap: Cap) -> Witness | str:
    """Those that the queue's timeout should have sent away."""
    if cap.overload != "queue" or cap.queue_timeout_s is None:
        return ""
    patience_ns = round(queue_patience_s(cap.queue_timeout_s) * 1e9)
    late = [c for c in house.outside if house.waited_ns(c) > patience_ns]
    sent_away = [c for c in house.refused if c not in late]
    if len(late) >= TRIES:
        first_ns = min(c.sent_ns or 0 for c in late)
        stall_ns = house.start.worst_stall_ns(first_ns, house.released_ns)
        if stall_ns < QUIET * cap.queue_timeout_s * 1e9:
            return saturation.shown(
                house,
                late,
                f"A queue that is promised to be left after {cap.queue_timeout_s:g} s kept "
                f"{len(late)} clients for more than {witness.seconds(patience_ns)}.",
            )
    if late:
        return f"{len(late)} clients were kept for too long, which is too few or was too loud"
    return "" if sent_away else "never exercised: nobody was sent away by the queue's timeout"


def retry_after(history: History, promises: Promises) -> Finding:
    """A refusal by a full house says when to come back.

    Doubt: any Retry-After will do, and only refusals with a promised status are read.
    """
    return _carried(history, promises, "a Retry-After", lambda c: bool(c.retry_after))


def json_error(history: History, promises: Promises) -> Finding:
    """A refusal by a full house is a JSON object with an ``error``, as clients expect.

    Doubt: any such object will do, and only refusals with a promised status are read.
    """
    return _carried(history, promises, "a JSON error", lambda c: c.json_error)


def _carried(
    history: History, promises: Promises, what: str, has: Callable[[Observation], bool]
) -> Finding:
    cap = promises.cap
    assert cap is not None
    read = 0
    for house in saturation.houses(history, cap):
        refused = [c for c in house.refused if c.status in cap.reject_status]
        read += len(refused)
        without = [client for client in refused if not has(client)]
        if len(without) >= ODD:
            shown = saturation.shown(
                house, without, f"{len(without)} refusals by a full house came without {what}."
            )
            return results.violated(f"without {what}", shown, {"refused": read})
    if read < ODD:
        return results.inconclusive(
            f"never exercised: {read} refusals by a full house, {ODD} are needed"
        )
    return results.held(f"{read} refusals, each with {what}", {"refused": read})


def _needs_overload(promises: Promises) -> str:
    if reason := needs_cap(promises):
        return reason
    cap = promises.cap
    assert cap is not None
    bound, timeout_s = tried(cap).queue_limit, tried(cap).queue_timeout_s
    if cap.overload == "reject" or bound is not None or timeout_s is not None:
        return ""
    untried = []
    if cap.queue_limit is not None:
        untried.append(f"a queue of more than {LARGEST_QUEUE} is not filled")
    if cap.queue_timeout_s is not None:
        untried.append(f"a queue timeout of more than {LONGEST_QUEUE_S:g} s is not waited for")
    return ", ".join(untried) or "a queue is promised, without a bound or a timeout"


_HOUSE = "The house is held full, clients come, and no provider sees anything of them."

CHECKS = (
    Check(
        id=_ANSWER,
        needs=_needs_overload,
        scenarios=("overload",),
        judge=answer,
        promised="A full house answers with a promised status (`cap.reject_status`): at once where "
        "it rejects, beyond `cap.queue_limit` and after `cap.queue_timeout_s` where it queues.",
        proved=f"{_HOUSE} At least two are refused with another status or none; or more than the "
        "bound are seen waiting at two looks, for two seconds (half the timeout, if that is less); "
        "or three are kept for half as long again as the timeout.",
        doubt="In the router's favour: who was refused sooner was not one too many; a "
        "smaller queue or an earlier refusal than promised is not judged; a timeout does not "
        "accuse in a moment that was not quiet. Inconclusive where nobody was turned away.",
        bug="A queue without an end, a bound that counts the wrong requests, an overload that "
        "reads as a fault: ollama/ollama #7758 and PR #4144, mostlygeek/llama-swap PR #123.",
        fix="Bound the queue where requests wait for the permit, and refuse with 429 or 503.",
    ),
    Check(
        id="overload/retry-after",
        kind=Kind.SHOULD,
        needs=_needs_overload,
        scenarios=("overload",),
        judge=retry_after,
        promised="A refusal by a full house carries Retry-After.",
        proved=f"{_HOUSE} At least two are refused with a promised status and no Retry-After.",
        doubt="In the router's favour: any value will do.",
        bug="Clients that are not told when to come back do so at once, or for ever: "
        "BerriAI/litellm #27823 and #37754.",
        fix="Send Retry-After with every 429 and 503 of your own.",
    ),
    Check(
        id="overload/json-error",
        kind=Kind.SHOULD,
        needs=_needs_overload,
        scenarios=("overload",),
        judge=json_error,
        promised="A refusal by a full house is a JSON error that client libraries can read.",
        proved=f"{_HOUSE} At least two are refused with a promised status and a body that is no "
        "JSON object with an `error`.",
        doubt="In the router's favour: any such object will do.",
        bug="Plain text or an HTML page in place of the error that every client library parses: "
        "maximhq/bifrost #3927.",
        fix="Answer overload in the same shape as every other error.",
    ),
)
