"""The queue before the slots: slots/handover, slots/order, slots/cap-of-one, isolation. Pure.

Decides whether a slot that came free was passed on, whether a cap of one still serves every
route, and tells (without judging) how fair the queue is and what a hung provider does to others.

Direction of doubt: a slot that was passed on once in time excuses; a route under a cap of one is
accused only if it failed twice, with nothing open at any provider for the last seconds of waiting.
"""

from __future__ import annotations

from dataclasses import dataclass

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.check import Check, needs_cap
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.records.run import StartInfo
from routerspec.verdict import Finding, Kind, Number, Witness

IDLE_NS = 3_000_000_000
"""So long nothing was open anywhere while a client waited: it waits for itself."""
TIMES = 2
PASSED_ON_NS = 2_500_000_000
"""The time that is allowed for passing a slot on."""
TRIES = 3
"""So many times that long, one after the other, nobody was let in."""


def handover(history: History, promises: Promises) -> Finding:
    """A call that is let go lets one more in.

    Doubt: a single arrival between the first release and the opening of the gate excuses. Without
    one it takes a free slot, a client that had asked before the release and still waits at the
    end of it all, three times the patience of one release, and no stall of a tenth of that.
    """
    assert promises.cap is not None
    waits: list[int] = []
    tried = 0
    kept_out: _KeptOut | None = None
    for start, played in history.rounds("handover"):
        limit, opened = start.info.settings.cap, played.released_ns("gate")
        if limit is None or opened is None:
            continue
        calls = _calls(start, played)
        released = [call for call in calls if call.let_go_ns and call.let_go_ns < opened]
        tried += len(released)
        arrived = [
            min((c.read_ns for c in calls if (r.let_go_ns or 0) < c.read_ns < opened), default=None)
            for r in released
        ]
        passed = [
            read - call.outer_end_ns
            for read, call in zip(arrived, released, strict=True)
            if read is not None
        ]
        waits += passed
        if released and not passed:
            since = min(call.outer_end_ns for call in released)
            kept_out = kept_out or _kept_out(start, played, since, opened, limit)
    numbers = {"released": tried, "passed_on": len(waits)} | _milliseconds("handover", waits)
    if waits:
        worst = max(waits) / 1e6
        return results.held(f"{len(waits)} slots passed on, at worst in {worst:.1f} ms", numbers)
    if kept_out:
        return results.violated("no slot was passed on", kept_out.witness(), numbers)
    if not tried:
        return results.inconclusive("never exercised: no held call was let go", numbers)
    reason = "nothing proves that anybody waited for the slots that came free"
    return results.inconclusive(reason, numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeptOut:
    """Clients that waited although a slot was free, from ``since_ns`` to ``until_ns``."""

    start: StartHistory
    played: PlayedRound
    since_ns: int
    until_ns: int
    limit: int
    busy: int
    clients: tuple[Observation, ...]

    def witness(self) -> Witness:
        """Until when, how many slots were busy, and who waited."""
        gap = witness.seconds(self.until_ns - self.since_ns)
        return Witness(
            sentence=(
                f"The cap is {self.limit} and {self.busy} calls were open; {len(self.clients)} "
                f"clients waited all along, and nobody was let in for {gap}."
            ),
            facts=(
                witness.where(self.start, self.played),
                f"nothing arrived from {witness.at(self.played, self.since_ns)} to "
                f"{witness.at(self.played, self.until_ns)}",
                *(
                    f"kept out: nonce {client.nonce}, {witness.client_line(self.played, client)}"
                    for client in self.clients[:2]
                ),
                *(
                    witness.call_line(self.start, self.played, call)
                    for call in _calls(self.start, self.played)[:5]
                ),
            ),
        )


def _kept_out(
    start: StartHistory, played: PlayedRound, since: int, opened: int, limit: int
) -> _KeptOut | None:
    """Whoever waited from the first release until the gate opened, with a slot free for them."""
    busy = sum(call.read_ns <= opened and call.outer_end_ns > since for call in start.calls)
    clients = tuple(
        client
        for client in played.observations
        if client.sent_ns is not None
        and client.sent_ns < since
        and client.end_ns > opened
        and not any(call.read_ns < opened for call in start.calls_of.get(client.nonce, ()))
    )
    quiet = start.worst_stall_ns(since, opened) < PASSED_ON_NS // 10
    if opened - since < TRIES * PASSED_ON_NS or busy >= limit or not clients or not quiet:
        return None
    return _KeptOut(
        start=start, played=played, since_ns=since, until_ns=opened, limit=limit, busy=busy,
        clients=clients,
    )  # fmt: skip


def order(history: History, _promises: Promises) -> Finding:
    """How far from first come, first served the queue is. Doubt: it is told, and never judged."""
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
        return results.inconclusive("nobody was seen to wait")
    numbers: dict[str, Number] = {
        "overtaken": overtaken, "pairs": pairs, "longest_wait_ms": round(longest / 1e6, 1),
    }  # fmt: skip
    return results.observed(f"{overtaken} of {pairs} pairs overtook", numbers)


def cap_of_one(history: History, _promises: Promises) -> Finding:
    """With a cap of one every route still answers: no request waits for itself.

    Doubt: as the module says.
    """
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
            return results.violated(f"{where} waits for itself", _stuck(its), {"tried": len(tried)})
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
        return results.inconclusive(results.joined(told), numbers)
    return results.held(f"{len(tried)} routes and modes answer", numbers)


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


def hung_provider(history: History, _promises: Promises) -> Finding:
    """Whether the other provider answers while one hangs. Doubt: it is told, and never judged."""
    for _, played in history.rounds("hung-provider"):
        opened = played.released_ns("gate")
        beside = [c for c in played.observations if c.route == played.round.route]
        if opened is None or not beside:
            continue
        answered = any(c.outcome == "answered" and c.end_ns < opened for c in beside)
        word = "answers" if answered else "waits"
        return results.observed(f"the other provider {word}", {"answered": int(answered)})
    return results.not_applicable("the target has one provider only")


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
        proved="In a full house with a queue one held call after the other is let go; then nothing "
        "arrives for 7.5 s (three times 2.5 s), with fewer calls open than the cap and clients "
        "waiting that had asked before.",
        doubt="In the router's favour: one slot that is passed on excuses. Inconclusive where "
        "nobody is seen to wait all along (a full queue may refuse), or our side stalled.",
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
