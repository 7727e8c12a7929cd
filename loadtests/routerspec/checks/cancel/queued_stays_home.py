"""Requests whose client left the queue: cancel/queued-stays-home."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.check import PER_PROCESS, Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import LEFT_BEFORE_S
from routerspec.promises import Cancel, Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Number, Witness

DEPARTED = 2
"""Requests of departed clients that reached a provider that it takes to accuse."""


def _queued_stays_home(history: History, cancel: Cancel) -> Finding:
    margin_ns = round(max(LEFT_BEFORE_S, cancel.within_s) * 1e9)
    departed = stayed_home = served_later = noisy = 0
    ran: list[tuple[StartHistory, PlayedRound, Observation, Call]] = []
    for start, played in history.rounds("hang-up-queued"):
        released_ns = played.released_ns("gate")
        if released_ns is None:
            continue
        its = list(_departed(start, played, released_ns - margin_ns))
        departed += len(its)
        went = [
            (start, played, client, call)
            for client in its
            for call in _late_calls(start, client, margin_ns)[:1]
        ]
        stayed_home += len(its) - len(went)
        if its and went and not _was_quiet(start, its, released_ns, margin_ns):
            noisy += len(went)
        else:
            ran += went
        served_later += _served_later(start, its, released_ns, played.observations)
    numbers: dict[str, Number] = {"departed": departed, "stayed_home": stayed_home}
    if len(ran) >= min(DEPARTED, max(departed, 1)):
        summary = f"{len(ran)} of {departed} were sent all the same"
        return results.violated(summary, _witness(ran, margin_ns), numbers)
    if ran or noisy:
        return results.inconclusive(
            f"{len(ran) + noisy} of {departed} requests were sent although their clients had "
            f"disconnected, {noisy} of them during a stall",
            numbers,
        )
    if not departed:
        return results.never_exercised("no client left the queue in time", numbers)
    if not served_later:
        return results.never_exercised("no later client was served after the release", numbers)
    return results.held(f"{departed} left the queue, none of their requests was sent", numbers)


def _departed(start: StartHistory, played: PlayedRound, until_ns: int) -> Iterator[Observation]:
    """Clients that a snapshot shows waiting, without a call, and that then disconnected."""
    for client in played.observations:
        left_ns = client.hang_up_ns
        if left_ns is None or client.outcome != "hung_up" or left_ns > until_ns:
            continue
        queued = any(client.nonce in snapshot.waiting and snapshot.answered_ns < left_ns
                     for snapshot in played.snapshots)  # fmt: skip
        calls = start.calls_of.get(client.nonce, ())
        if queued and not any(call.read_ns <= left_ns for call in calls):
            yield client


def _late_calls(start: StartHistory, client: Observation, margin_ns: int) -> list[Call]:
    assert client.hang_up_ns is not None
    return [
        call
        for call in start.calls_of.get(client.nonce, ())
        if call.read_ns >= client.hang_up_ns + margin_ns
    ]


def _was_quiet(start: StartHistory, its: list[Observation], until_ns: int, margin_ns: int) -> bool:
    from_ns = min(client.hang_up_ns or until_ns for client in its)
    return start.is_quiet(from_ns, until_ns, margin_ns)


def _served_later(
    start: StartHistory, its: list[Observation], released_ns: int, clients: Iterable[Observation]
) -> int:
    """Clients that came after the last disconnect, and whose calls came after the release."""
    last_ns = max((client.hang_up_ns or 0 for client in its), default=released_ns)
    return sum(
        client.started_ns > last_ns
        and any(call.read_ns >= released_ns for call in start.calls_of.get(client.nonce, ()))
        for client in clients
    )


def _witness(
    ran: list[tuple[StartHistory, PlayedRound, Observation, Call]], margin_ns: int
) -> Witness:
    start, played = ran[0][:2]
    released = witness.at(played, played.released_ns("gate"))
    return Witness(
        sentence=(
            f"{len(ran)} requests reached their provider more than {witness.seconds(margin_ns)} "
            "after their clients had left the queue."
        ),
        facts=(
            witness.where(start, played),
            f"all slots were occupied until {released}",
            *(witness.call_line(start, played, call) for _, _, _, call in ran[:4]),
        ),
    )


def _no_queue(promises: Promises) -> str:
    cap, cancel = promises.cap, promises.cancel
    if cap is None or cap.overload != "queue" or cap.queue_limit == 0:
        return "no queue is promised"
    if cap.scope == "process":
        return PER_PROCESS
    shortest = max(LEFT_BEFORE_S, cancel.within_s if cancel else 0.0)
    if cap.queue_timeout_s is not None and cap.queue_timeout_s <= shortest:
        return f"the queue lets no client wait for longer than {shortest:g} s"
    return ""


QUEUED_STAYS_HOME = Check(
    id="cancel/queued-stays-home",
    promise=Cancel,
    exempt=_no_queue,
    scenarios=("hang-up-queued",),
    judge=_queued_stays_home,
    promised="A request whose client disconnected while it was queued is never sent to a provider.",
    proved="All slots are held, snapshots show clients waiting, and they disconnect; a second or "
    "more (`cancel.within_s`, if that is longer) later the slots are released, and the requests of "
    "at least two of them reach a provider.",
    doubt="In the router's favour: a client that disconnects as its turn comes may be too late. "
    "Inconclusive: a single request, a self-reported stall of a tenth of the time, and a queue in "
    "which no later client was served.",
    bug="The wait in the queue is not tied to the client's connection, so the model works for a "
    "client long gone: ggml-org/llama.cpp #13262, dtzp555-max/ocp PR #149.",
    fix="Wait for the slot and for the client's close at once, and leave the queue on the close.",
)
