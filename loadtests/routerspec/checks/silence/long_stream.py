"""Streams that take long in all: silence/long-stream."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from fake_providers.records.evidence import Call
from routerspec import limits
from routerspec.checks import cells, results, witness
from routerspec.checks.answers import tokens
from routerspec.checks.check import Check
from routerspec.checks.deadlines import Deadlines, lacks
from routerspec.checks.silence import promised
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Silence
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Number, Witness

SCENARIOS: Final = ("long-stream",)
_FLOWING: Final = 3
"""Pieces from which on a stream flows."""
_LASTED: Final = 0.8
"""Of the promised time: a shorter one shows nothing."""

Cut = tuple[StartHistory, PlayedRound, Observation, Call]


def _long_stream(history: History, silence: Silence) -> Finding:
    assert silence.stream_max_s is not None  # else the check is not applicable
    promised_ns = silence.stream_max_s * 1e9
    tallies: defaultdict[Cell, Deadlines[Cut]] = defaultdict(Deadlines)
    for start, played in history.rounds(*SCENARIOS):
        for client in played.observations:
            calls = start.calls_of.get(client.nonce, ())
            if not calls or client.hang_up_ns is not None or start.router_died:
                continue
            its, call = tallies[client.route, client.mode], calls[-1]
            lasted_ns = client.end_ns - client.started_ns
            if client.outcome == "answered" and tokens.whole(start, client):
                its.met += lasted_ns >= _LASTED * promised_ns
            elif _is_cut(call, client, lasted_ns, promised_ns):
                if start.is_quiet(client.started_ns, client.end_ns, promised_ns):
                    its.missed.append((start, played, client, call))
                else:
                    its.noisy += 1
    met = sum(its.met for its in tallies.values())
    numbers: dict[str, Number] = {"streams": met}
    expected = [cell for cell in history.cells if cell[1] == "stream"]
    if not expected:
        return results.not_applicable("no route streams", numbers)
    return cells.judge(
        dict(sorted(tallies.items())),
        expected,
        accuse=lambda its: (
            ("a long stream is cut off", _witness(its.proof, silence)) if its.proof else None
        ),
        lacks=_lacks,
        held=f"{met} streams of {limits.LONG_STREAM * silence.stream_max_s:.1f} s, each whole",
        numbers=numbers,
    )


def _is_cut(call: Call, client: Observation, lasted_ns: int, promised_ns: float) -> bool:
    """It flowed, and ended before its time although its provider did not fail."""
    flowed = call.status == 200 and call.pieces >= _FLOWING
    own = client.outcome != "timed_out" and call.ended_by not in {"cut", "shutdown"}
    # A provider that lags makes a stream longer than promised.
    return flowed and own and lasted_ns <= promised_ns


def _lacks(its: Deadlines[Cut] | None) -> str:
    return lacks(its, "long streams were cut off", "no stream lasted for as long as promised")


def _witness(proof: list[Cut], silence: Silence) -> Witness:
    return Witness(
        sentence=f"A stream of {silence.stream_max_s:g} s is promised to be answered whole; "
        f"{len(proof)} times of {len(proof)} a shorter one was cut off while it flowed.",
        facts=tuple(
            line
            for start, played, client, call in proof
            for line in (
                witness.where(start, played),
                witness.nonce_line(played, client),
                f"cut off after {witness.seconds(client.end_ns - client.started_ns)}, "
                f"{client.pieces} pieces read, error {client.error[:120]!r}",
                witness.attempt_line(start, played, call),
            )
        ),
    )


LONG_STREAM = Check(
    id="silence/long-stream",
    promise=Silence,
    scenarios=SCENARIOS,
    exempt=promised.long_stream,
    judge=_long_stream,
    timed=True,
    promised="A stream that takes up to `silence.stream_max_s` in all arrives whole.",
    proved="Three times of three on a route, in quiet moments, a stream whose pieces would have "
    "taken nine tenths of that time was cut off while it flowed, within the promised time.",
    doubt="In the router's favour: a stream that came to fewer than three pieces, one that its "
    "provider cut, and one that took longer than promised since its provider was late accuse "
    "nobody. Inconclusive where no stream of a route lasted for so long.",
    bug="A timeout of whole requests, of the router's own or of the proxy in it, cuts long answers "
    "off in the middle: NVIDIA/NeMo-Relay #1050, pydantic/logfire #1882.",
    fix="Bound the silence between two reads, and not the whole stream.",
)
