"""What a client of a stream reads while its provider is silent: silence/keep-alive."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

from fake_providers.records.evidence import Call
from routerspec.checks import cells, results, witness
from routerspec.checks.check import Check
from routerspec.checks.deadlines import Deadlines, lacks
from routerspec.checks.silence import promised
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.limits import silence_slack_s
from routerspec.promises import Silence
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Number, Witness

SCENARIOS = ("silent-stream",)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paused:
    """One stream whose provider paused after its first piece."""

    start: StartHistory
    played: PlayedRound
    client: Observation
    call: Call
    from_ns: int
    """Both the first piece was sent and the head of the answer was read."""
    until_ns: int
    """The provider was released, or the stream had ended."""
    gap_ns: int
    """The longest time in between in which the client read nothing."""


def _keep_alive(history: History, silence: Silence) -> Finding:
    assert silence.keepalive_s is not None  # else the check is not applicable
    bound_ns = round((silence.keepalive_s + silence_slack_s(silence.keepalive_s)) * 1e9)
    tallies: defaultdict[Cell, Deadlines[_Paused]] = defaultdict(Deadlines)
    longest_ns = 0
    for start, played in history.rounds(*SCENARIOS):
        for client in played.observations:
            its = _paused(start, played, client)
            if its is None or its.until_ns - its.from_ns <= bound_ns:
                continue
            deadlines = tallies[client.route, client.mode]
            if its.gap_ns <= bound_ns:
                deadlines.met += 1
                longest_ns = max(longest_ns, its.gap_ns)
            elif start.is_quiet(its.from_ns, its.until_ns, silence.keepalive_s * 1e9):
                deadlines.missed.append(its)
            else:
                deadlines.noisy += 1
    met = sum(its.met for its in tallies.values())
    numbers: dict[str, Number] = {"streams": met, "longest_s": round(longest_ns / 1e9, 2)}
    expected = [cell for cell in history.cells if cell[1] == "stream"]
    if not expected:
        return results.not_applicable("no route streams", numbers)
    late = f"nothing read for more than {silence.keepalive_s:g} s"
    return cells.judge(
        dict(sorted(tallies.items())),
        expected,
        accuse=lambda its: (late, _witness(its.proof, silence)) if its.proof else None,
        lacks=_lacks,
        held=f"{met} streams whose provider paused, {longest_ns / 1e9:.1f} s without a byte",
        numbers=numbers,
    )


def _paused(start: StartHistory, played: PlayedRound, client: Observation) -> _Paused | None:
    """None where the provider did not pause, or the client read no head of an answer."""
    bytes_ = start.transcript_of.get(client.nonce)
    call = next((c for c in start.calls_of.get(client.nonce, ()) if c.held_ns is not None), None)
    if call is None or call.first_ns is None or bytes_ is None or client.head_ns is None:
        return None
    if client.hang_up_ns is not None or start.router_died:
        return None
    ends = [call.outer_end_ns, client.end_ns]
    until_ns = min([*ends, call.let_go_ns] if call.let_go_ns is not None else ends)
    from_ns = max(call.first_ns, client.head_ns)
    read = [at for _, at in bytes_.arrivals if from_ns <= at <= until_ns]
    moments = [from_ns, *read, until_ns]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    return _Paused(
        start=start, played=played, client=client, call=call,
        from_ns=from_ns, until_ns=until_ns, gap_ns=max(gaps),
    )  # fmt: skip


def _lacks(its: Deadlines[_Paused] | None) -> str:
    return lacks(
        its,
        "streams sent nothing in time",
        "no client that had read a head was kept waiting for so long",
    )


def _witness(proof: list[_Paused], silence: Silence) -> Witness:
    facts: list[str] = []
    for its in proof:
        facts.append(witness.where(its.start, its.played))
        facts.append(witness.nonce_line(its.played, its.client))
        facts.append(witness.attempt_line(its.start, its.played, its.call))
        facts.append(
            f"from {witness.at(its.played, its.from_ns)} to {witness.at(its.played, its.until_ns)} "
            f"the provider sent nothing; the client read nothing for "
            f"{witness.seconds(its.gap_ns)} of that"
        )
    return Witness(
        sentence=f"Clients of streams are promised something to read every {silence.keepalive_s:g} "
        f"s; {len(proof)} times of {len(proof)} one read nothing for longer.",
        facts=tuple(facts),
    )


KEEP_ALIVE = Check(
    id="silence/keep-alive",
    promise=Silence,
    scenarios=SCENARIOS,
    exempt=promised.keepalive,
    judge=_keep_alive,
    timed=True,
    promised="While its provider is silent, a client of a stream reads something at least every "
    "`silence.keepalive_s`: a comment, or whatever its dialect ignores.",
    proved="A provider sends the first piece of a stream and then nothing for three times that "
    "long. Three times of three on a route, in quiet moments, the client read no byte for longer "
    "than the promise and a quarter of it (half a second at least).",
    doubt="In the router's favour: any byte will do. Time counts from the head of the answer and "
    "the provider's first piece on, since before that a router may still have to choose a status. "
    "Inconclusive where a route was never kept waiting for so long.",
    bug="Nothing on the wire while a model thinks, so that a proxy or a client between closes the "
    "connection: BerriAI/litellm #34374, #31865 and PR #37322, theopenco/llmgateway PR #1541, "
    "openclaw/openclaw PR #70739.",
    fix="Race each read from the provider with a timer, and send a comment line when the timer "
    "wins.",
)
