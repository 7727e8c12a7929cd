"""The queue before the slots: slots/handover, slots/order, slots/cap-of-one, isolation. Pure.

Decides whether a slot that came free was passed on, whether a cap of one still serves every
route, and tells (without judging) how fair the queue is and what a hung provider does to others.

Direction of doubt: a slot that was passed on once in time excuses; a route under a cap of one is
accused only if it failed twice, with nothing open at any provider for the last seconds of waiting.
"""

from __future__ import annotations

from fake_providers.evidence import Call
from routerspec.checks import found, witness
from routerspec.checks.check import Check, needs_cap
from routerspec.history import History, PlayedRound, StartHistory
from routerspec.observations import Observation
from routerspec.promises import Promises
from routerspec.run import StartInfo
from routerspec.verdict import CheckResult, Kind, Number, Witness

IDLE_NS = 3_000_000_000
"""So long nothing was open anywhere while a client waited: it waits for itself."""
TIMES = 2


def handover(history: History, _promises: Promises) -> CheckResult:
    """One call that is let go lets one more in.

    Doubt: one release of three that is followed by an arrival excuses the others.
    """
    id_ = "slots/handover"
    waits: list[int] = []
    tried = 0
    last: tuple[StartHistory, PlayedRound] | None = None
    for start, played in history.rounds("handover"):
        calls = _calls(start, played)
        opened = played.released_ns("gate")
        released = [c for c in calls if c.let_go_ns and opened and c.let_go_ns < opened]
        tried += len(released)
        last = (start, played)
        for call in released:
            after = [c.read_ns for c in calls if c.read_ns > (call.let_go_ns or 0)]
            before_gate = [read for read in after if opened and read < opened]
            if before_gate:
                waits.append(min(before_gate) - call.outer_end_ns)
    numbers = {"released": tried, "passed_on": len(waits)} | _milliseconds("handover", waits)
    if not tried or last is None:
        return found.inconclusive(id_, "never exercised: no held call was let go", numbers)
    if not waits:
        start, played = last
        shown = Witness(
            sentence="Slots came free while clients waited, and nobody was let in for seconds.",
            facts=(
                witness.where(start, played),
                *(witness.call_line(start, played, call) for call in _calls(start, played)[:5]),
            ),
        )
        return found.violated(id_, "no slot was passed on", shown, numbers)
    worst = max(waits) / 1e6
    return found.held(id_, f"{len(waits)} slots passed on, at worst in {worst:.1f} ms", numbers)


def order(history: History, _promises: Promises) -> CheckResult:
    """How far from first come, first served the queue is. Doubt: it is told, and never judged."""
    id_ = "slots/order"
    pairs = overtaken = 0
    longest = 0
    for start, played in history.rounds("handover"):
        queued = [
            (client.sent_ns, start.calls_of[client.nonce][0].read_ns)
            for client in played.observations
            if client.sent_ns is not None and start.calls_of.get(client.nonce)
        ]
        queued.sort()
        longest = max([longest, *(read - sent for sent, read in queued)])
        for index, (_, read) in enumerate(queued):
            pairs += len(queued) - index - 1
            overtaken += sum(later < read for _, later in queued[index + 1 :])
    if not pairs:
        return found.inconclusive(id_, "nobody was seen to wait")
    numbers: dict[str, Number] = {
        "overtaken": overtaken, "pairs": pairs, "longest_wait_ms": round(longest / 1e6, 1),
    }  # fmt: skip
    return found.observed(id_, f"{overtaken} of {pairs} pairs overtook", numbers)


def cap_of_one(history: History, _promises: Promises) -> CheckResult:
    """With a cap of one every route still answers: no request waits for itself.

    Doubt: as the module says.
    """
    id_ = "slots/cap-of-one"
    rounds = list(history.rounds("one-each"))
    tried = {played.cell for _, played in rounds if played.observations}
    failed: dict[tuple[str, str], list[tuple[StartHistory, PlayedRound, Observation]]] = {}
    for start, played in rounds:
        for client in played.observations:
            if client.outcome == "timed_out" and _waits_for_itself(start, client):
                failed.setdefault(played.cell, []).append((start, played, client))
    for cell, its in failed.items():
        if len(its) >= TIMES:
            where = ":".join(cell)
            return found.violated(
                id_, f"{where} waits for itself", _stuck(its), {"tried": len(tried)}
            )
    lacking = [":".join(cell) for cell in history.cells if cell not in tried]
    unanswered = [
        ":".join(played.cell)
        for _, played in rounds
        if not any(client.outcome == "answered" for client in played.observations)
    ]
    numbers = {"tried": len(tried)}
    if lacking or unanswered:
        reasons = {"never tried": lacking, "not answered": unanswered}
        told = {reason: names for reason, names in reasons.items() if names}
        return found.inconclusive(id_, found.joined(told), numbers)
    return found.held(id_, f"{len(tried)} routes and modes answer", numbers)


def _waits_for_itself(start: StartHistory, client: Observation) -> bool:
    """Its patience ended, and nothing of this start was open in the last seconds of it."""
    since = client.end_ns - IDLE_NS
    idle = all(call.outer_end_ns < since or call.read_ns > client.end_ns for call in start.calls)
    return idle and start.worst_stall_ns(since, client.end_ns) < IDLE_NS // 10


def _stuck(its: list[tuple[StartHistory, PlayedRound, Observation]]) -> Witness:
    facts: list[str] = []
    for start, played, client in its[:TIMES]:
        facts.append(witness.where(start, played))
        facts.append(f"nonce {client.nonce}: {witness.client_line(played, client)}")
        facts += [
            witness.call_line(start, played, call) for call in start.calls_of.get(client.nonce, ())
        ]
        facts.append("no call was open at any provider in the last 3 s of its waiting")
    return Witness(
        sentence="Under a cap of one a request got no slot although nobody else had one.",
        facts=tuple(facts),
    )


def hung_provider(history: History, _promises: Promises) -> CheckResult:
    """Whether the other provider answers while one hangs. Doubt: it is told, and never judged."""
    id_ = "isolation/hung-provider"
    for _, played in history.rounds("hung-provider"):
        opened = played.released_ns("gate")
        beside = [c for c in played.observations if c.route == played.round.route]
        if opened is None or not beside:
            continue
        answered = any(c.outcome == "answered" and c.end_ns < opened for c in beside)
        word = "answers" if answered else "waits"
        return found.observed(id_, f"the other provider {word}", {"answered": int(answered)})
    return found.not_applicable(id_, "the target has one provider only")


def _calls(start: StartHistory, played: PlayedRound) -> list[Call]:
    calls = [
        call for client in played.observations for call in start.calls_of.get(client.nonce, ())
    ]
    return sorted(calls, key=lambda call: call.read_ns)


def _milliseconds(name: str, values: list[int]) -> dict[str, Number]:
    return {f"{name}_max_ms": round(max(values) / 1e6, 3)} if values else {}


def _needs_queue(promises: Promises) -> str:
    if reason := needs_cap(promises):
        return reason
    assert promises.cap is not None
    return "" if promises.cap.overload == "queue" else "a full router refuses: there is no queue"


def _of_one(info: StartInfo, _promises: Promises) -> bool:
    return info.settings.cap == 1


CHECKS = (
    Check(
        id="slots/handover",
        needs=_needs_queue,
        scenarios=("handover",),
        judge=handover,
        kind=Kind.SHOULD,
        promised="A slot that comes free goes to somebody who waits.",
        proved="In a full house with a queue one held call after the other is let go, and in none "
        "of three times a further call arrives within 3 s.",
        doubt="In the router's favour: one that is passed on excuses.",
        bug="Wakeups are lost when a waiter leaves: sgl-project/sglang PR #31907, CPython's "
        "Semaphore (python/cpython #90155).",
        fix="Hand the permit to the next waiter that is still there, in the releasing step.",
    ),
    Check(
        id="slots/order",
        needs=_needs_queue,
        scenarios=("handover",),
        judge=order,
        kind=Kind.OBSERVE,
        promised="Nothing: how far the queue is from first come, first served is told.",
        proved="It is no violation: pairs of requests that reached their provider in another order "
        "than they were written are counted, and the longest wait is measured.",
        doubt="It never accuses.",
        bug="Newcomers that barge past the queue starve whoever waits: python/cpython #90155.",
        fix="A queue of waiters, and no permit for newcomers while somebody waits.",
    ),
    Check(
        id="slots/cap-of-one",
        needs=needs_cap,
        scenarios=("one-each",),
        start="one",
        reads=_of_one,
        judge=cap_of_one,
        promised="A cap of 1 serves every route, those that call a model several times too.",
        proved="With the cap set to 1, one request by itself gets no answer in 5 s, twice, and for "
        "the last 3 s of its waiting no call was open at any provider.",
        doubt="In the router's favour: any open call excuses, and so does one answer.",
        bug="An agent or RAG route takes a second permit for its inner call, and waits for itself; "
        "off-by-one at a cap of 1 (BerriAI/litellm #27955 and its duplicates).",
        fix="One permit a client request, taken at the outermost place.",
    ),
    Check(
        id="isolation/hung-provider",
        needs=needs_cap,
        scenarios=("hung-provider",),
        judge=hung_provider,
        kind=Kind.OBSERVE,
        promised="Nothing: what becomes of the other provider while one hangs is told.",
        proved="It is no violation: as many calls as the cap are held at one provider, and the "
        "other is asked for one.",
        doubt="It never accuses.",
        bug="One provider that never answers eats the shared cap: vllm production-stack, "
        "#749, maximhq/bifrost #7034, askalf/dario #1244.",
        fix="A timeout to the head, and a cap for each provider beside the shared one.",
    ),
)
