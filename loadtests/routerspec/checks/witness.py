"""The lines of a witness: calls, clients and fetches in words that a stranger can read.

Times are seconds since the round began, by the one clock of the run. ``report.html.cited`` finds
records by these lines: ``start S, round N: ``, ``fake P call N ``, ``fake P fetch N of ``,
``list request N: ``, ``nonce N:``.
"""

from __future__ import annotations

from fake_providers.records.evidence import Call, ListFetch
from routerspec.history.history import PlayedRound, StartHistory
from routerspec.records.load_processes import process_of
from routerspec.records.observations import ListObservation, Observation, Snapshot


def at(played: PlayedRound, ns: int | None) -> str:
    """``+1.250 s``: a stamp, since the round began."""
    return "never" if ns is None else f"{(ns - played.from_ns) / 1e9:+.3f} s"


def seconds(ns: int) -> str:
    """A length of time, in the unit that reads best."""
    return f"{ns / 1e9:.2f} s" if ns >= 100_000_000 else f"{ns / 1e6:.3f} ms"


def where(start: StartHistory, played: PlayedRound) -> str:
    """Which files and which round to open."""
    begun = played.round
    part = f", {begun.part}" if begun.part else ""
    cell = f" ({begun.route} {begun.mode}".rstrip() + ")" if begun.route else ""
    return f"start {start.info.name}, round {begun.round}: {begun.scenario}{part}{cell}"


def call_line(start: StartHistory, played: PlayedRound, call: Call) -> str:
    """One provider call: which, when it was received, how it ended, and its client's side."""
    nonces = " ".join(str(nonce) for nonce in call.nonces)
    clients = [
        client_line(played, start.observed[nonce])
        for nonce in call.nonces
        if nonce in start.observed
    ]
    how = f"received {at(played, call.read_ns)}, {_ended(played, call)}"
    if call.provider in start.own_clocks:
        how = f"by a clock of its own open for {seconds(call.outer_end_ns - call.read_ns)}"
    return (
        f"fake {call.provider} call {call.call} ({call.route}, {call.model}), nonce {nonces}: "
        f"{how}; "
        f"{', '.join(clients) or 'its client left no record'}"
    )


def attempt_line(start: StartHistory, played: PlayedRound, call: Call) -> str:
    """One provider call with what the fake sent of its answer."""
    return (
        f"{call_line(start, played, call)}; status {call.status}, {call.pieces} pieces sent, "
        f"finished {call.finished}"
    )


def _ended(played: PlayedRound, call: Call) -> str:
    how = {
        "fake": "completed by the fake",
        "peer": "closed by the router",
        "cut": "cut off by the fake, as scripted",
        "shutdown": "still open when the fake was stopped",
    }[call.ended_by]
    return f"open until {at(played, call.outer_end_ns)} ({how})"


def client_line(played: PlayedRound, client: Observation) -> str:
    """One client: its route and mode, when it sent its request, and how that ended."""
    outcome: str = client.outcome.replace("_", " ")
    if client.outcome == "hung_up":
        outcome = f"disconnected {at(played, client.hang_up_ns)}"
    elif client.outcome == "refused":
        outcome = f"refused with {client.status}"
    where = f" to replica {client.replica}" if client.replica > 1 else ""
    where += " on a connection that it had kept" if client.reused else ""
    if process_of(client.nonce) in played.clients_elsewhere:
        outcome = "disconnected" if client.outcome == "hung_up" else outcome
        return (
            f"client ({client.route} {client.mode}) by a clock of its own open for "
            f"{seconds(client.end_ns - client.started_ns)}{where}, {outcome}"
        )
    return (
        f"client ({client.route} {client.mode}) sent its request {at(played, client.sent_ns)}"
        f"{where}, {outcome}, ended {at(played, client.end_ns)}"
    )


def nonce_line(played: PlayedRound, client: Observation) -> str:
    """One client by its nonce."""
    return f"nonce {client.nonce}: {client_line(played, client)}"


def snapshot_line(played: PlayedRound, snapshot: Snapshot) -> str:
    """One snapshot: what the fakes held, and which clients waited."""
    taken_ns = snapshot.at_ns
    if not snapshot.asked_ns <= taken_ns <= snapshot.answered_ns:  # by a clock of its own
        taken_ns = snapshot.answered_ns
    return (
        f"snapshot {at(played, taken_ns)}: {len(snapshot.held)} calls held, "
        f"{len(set(snapshot.waiting))} clients waiting"
    )


def fetch_line(played: PlayedRound, fetch: ListFetch) -> str:
    """One fetch of a model list."""
    if fetch.answered:
        end = f"answered {fetch.status} {at(played, fetch.outer_end_ns)}"
    else:
        end = f"open until {at(played, fetch.outer_end_ns)}, not answered"
    return (
        f"fake {fetch.provider} fetch {fetch.fetch} of {fetch.route}: "
        f"received {at(played, fetch.read_ns)}, {end}, list epoch {fetch.epoch}"
    )


def list_line(played: PlayedRound, request: ListObservation) -> str:
    """One client's request for the router's list."""
    shown = ", ".join(f"{name} epoch {epoch}" for name, epoch in sorted(request.epochs.items()))
    return (
        f"list request {request.request}: sent {at(played, request.sent_ns)}, "
        f"{request.outcome} {request.status or ''} {at(played, request.end_ns)}"
        + (f", with {shown}" if shown else "")
    )
