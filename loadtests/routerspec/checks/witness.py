"""The words of a witness: calls, clients and fetches as lines that a stranger can read.

Decides wording only. Times are seconds since the round began, by the one clock of the run.
"""

from __future__ import annotations

from fake_providers.records.evidence import Call, ListFetch
from routerspec.history.history import PlayedRound, StartHistory
from routerspec.records.observations import ListObservation, Observation


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
    tried = f" ({begun.route} {begun.mode}".rstrip() + ")" if begun.route else ""
    return f"start {start.info.name}, round {begun.round}: {begun.scenario}{part}{tried}"


def call_line(start: StartHistory, played: PlayedRound, call: Call) -> str:
    """One provider call: which, when read, how it ended, and what its client was doing."""
    nonces = " ".join(str(nonce) for nonce in call.nonces)
    return (
        f"fake {call.provider} call {call.call} ({call.route}, {call.model}), nonce {nonces}: "
        f"read {at(played, call.read_ns)}, {_ended(played, call)}; "
        f"{_clients(start, played, call)}"
    )


def _ended(played: PlayedRound, call: Call) -> str:
    how = {
        "fake": "answered to its end",
        "peer": "closed by the router",
        "cut": "cut as told",
        "shutdown": "still open when the fake was stopped",
    }[call.ended_by]
    return f"open until {at(played, call.outer_end_ns)} ({how})"


def _clients(start: StartHistory, played: PlayedRound, call: Call) -> str:
    lines = [
        client_line(played, start.observed[nonce])
        for nonce in call.nonces
        if nonce in start.observed
    ]
    return ", ".join(lines) or "its client left no record"


def client_line(played: PlayedRound, client: Observation) -> str:
    """One client: what it asked for, from when to when, and what became of it."""
    became: str = client.outcome.replace("_", " ")
    if client.outcome == "hung_up":
        became = f"hung up {at(played, client.hang_up_ns)}"
    elif client.outcome == "refused":
        became = f"refused with {client.status}"
    return (
        f"its client ({client.route} {client.mode}) wrote it {at(played, client.sent_ns)}, "
        f"{became}, done {at(played, client.end_ns)}"
    )


def fetch_line(played: PlayedRound, fetch: ListFetch) -> str:
    """One fetch of a model list."""
    if fetch.answered:
        end = f"answered {fetch.status} {at(played, fetch.outer_end_ns)}"
    else:
        end = f"open until {at(played, fetch.outer_end_ns)}, not answered"
    return (
        f"fake {fetch.provider} fetch {fetch.fetch} of {fetch.route}: "
        f"arrived {at(played, fetch.read_ns)}, {end}, list epoch {fetch.epoch}"
    )


def list_line(played: PlayedRound, asked: ListObservation) -> str:
    """One client's request for the router's list."""
    shown = ", ".join(f"{name} epoch {epoch}" for name, epoch in sorted(asked.epochs.items()))
    return (
        f"list request {asked.request}: sent {at(played, asked.sent_ns)}, "
        f"{asked.outcome} {asked.status or ''} {at(played, asked.end_ns)}"
        + (f", showing {shown}" if shown else "")
    )
