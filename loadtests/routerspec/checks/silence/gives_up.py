"""Providers that send nothing more: silence/gives-up."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from fake_providers.records.evidence import Call
from routerspec.checks import cells, held_calls, results, witness
from routerspec.checks.check import Check
from routerspec.checks.deadlines import Deadlines, lacks
from routerspec.checks.silence import promised
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.limits import silence_slack_s
from routerspec.promises import Cap, Silence
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Number, Witness

SCENARIOS: Final = ("stalled-provider",)
_PROBES: Final = 2
"""Probes with lost slots that it takes to accuse."""
_STALL_NS: Final = 250_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stalled:
    """One call whose provider sent nothing more."""

    start: StartHistory
    played: PlayedRound
    client: Observation
    call: Call
    silent_ns: int
    """When the provider had sent, or received, the last byte."""


def _gives_up(history: History, silence: Silence) -> Finding:
    assert silence.idle_timeout_s is not None  # else the check is not applicable
    idle_ns = silence.idle_timeout_s * 1e9
    bound_ns = round(idle_ns + silence_slack_s(silence.idle_timeout_s) * 1e9)
    tallies: defaultdict[Cell, Deadlines[_Stalled]] = defaultdict(Deadlines)
    longest_ns = 0
    for its in _stalled(history):
        tally = tallies[its.client.route, its.client.mode]
        closed_ns = its.call.peer_closed_ns
        if closed_ns is not None and closed_ns - its.silent_ns <= bound_ns:
            tally.met += 1
            longest_ns = max(longest_ns, closed_ns - its.silent_ns)
        elif its.call.outer_end_ns - its.silent_ns > bound_ns:
            if its.start.is_quiet(its.silent_ns, its.silent_ns + bound_ns, idle_ns):
                tally.missed.append(its)
            else:
                tally.noisy += 1
    met = sum(its.met for its in tallies.values())
    numbers: dict[str, Number] = {"given_up": met, "longest_s": round(longest_ns / 1e9, 2)}
    for start in history.starts:
        if lost := _lost(start, history.promises.cap):
            return results.violated("slots are lost with providers given up", lost, numbers)
    if not tallies:
        return results.never_exercised("no provider was silent for so long", numbers)
    late = f"not given up within {silence.idle_timeout_s:g} s"
    finding = cells.judge(
        dict(sorted(tallies.items())),
        sorted(tallies),
        accuse=lambda its: (late, _witness(its.proof, silence)) if its.proof else None,
        lacks=_lacks,
        held=f"{met} calls given up within {longest_ns / 1e9:.1f} s",
        numbers=numbers,
    )
    if finding.witness is None and (reason := _uncounted(history)):
        return results.inconclusive(reason, numbers)
    return finding


def _stalled(history: History) -> list[_Stalled]:
    """Calls that the fakes held while their clients waited, of rounds that stall."""
    found = []
    for start, played in history.rounds(*SCENARIOS):
        if played.round.part != "stall" or start.router_died:
            continue
        for client in played.observations:
            for call in start.calls_of.get(client.nonce, ()):
                if call.held_ns is None or len(call.nonces) != 1 or client.hang_up_ns is not None:
                    continue
                silent_ns = call.read_ns if call.first_ns is None else call.first_ns
                if call.held_ns < client.end_ns:
                    found.append(
                        _Stalled(
                            start=start, played=played, client=client, call=call,
                            silent_ns=silent_ns,
                        )
                    )  # fmt: skip
    return found


def _lacks(its: Deadlines[_Stalled] | None) -> str:
    return lacks(its, "calls were not given up", "no call was silent for so long")


# -- the slots afterwards -----------------------------------------------------------------------


def _probes(start: StartHistory, part: str) -> list[PlayedRound]:
    return [played for played in start.played(*SCENARIOS) if played.round.part == part]


def _lost(start: StartHistory, cap: Cap | None) -> Witness | None:
    """Fewer slots than the cap after providers were given up, where all were there before."""
    limit = start.info.settings.cap
    if cap is None or limit is None or cap.scope == "process":
        return None
    before, after = _probes(start, "before"), _probes(start, "probe")
    if not before or not _warm(start):
        return None
    if not any(held_calls.most_at(start, s, cap) == limit for its in before for s in its.snapshots):
        return None
    short = [its for its in after if _is_short(start, its, cap, limit)]
    if len(short) < _PROBES or len(short) < len(after):
        return None
    most = max(len(s.held) for its in short for s in its.snapshots)
    given_up = sum(c.ended_by == "peer" for its in _probes(start, "stall")
                   for c in start.calls_for(its.observations))  # fmt: skip
    if limit - most > given_up:
        return None
    return Witness(
        sentence=f"The cap is {limit}, and all of it was in use before; after {given_up} calls "
        f"were given up at most {most} were let in, in {len(short)} probes, though clients waited.",
        facts=tuple(
            line
            for its in (before[0], *short[:_PROBES])
            for line in (
                witness.where(start, its),
                *(witness.snapshot_line(its, s) for s in its.snapshots[-1:]),
            )
        ),
    )


def _is_short(start: StartHistory, played: PlayedRound, cap: Cap, limit: int) -> bool:
    """Settled, some slots occupied, others free, and clients kept out of them all the same."""
    settled = [snapshot for snapshot in played.snapshots if snapshot.settled]
    return bool(settled) and all(
        0 < sum(s.open.values()) < limit
        and held_calls.most_at(start, s, cap) < limit
        and len(set(s.waiting)) > len(s.held)
        and start.worst_stall_ns(played.from_ns, s.answered_ns) < _STALL_NS
        for s in settled
    )


def _warm(start: StartHistory) -> bool:
    return any(
        client.outcome == "answered"
        for played in _probes(start, "warm")
        for client in played.observations
    )


def _uncounted(history: History) -> str:
    """Why nothing is known of the slots after calls were given up; empty: all are back."""
    cap = history.promises.cap
    if cap is None or cap.scope == "process":
        return ""
    for start in history.starts:
        limit = start.info.settings.cap
        if limit is None or not _probes(start, "stall"):
            continue
        probes = _probes(start, "probe")
        if any(held_calls.most_at(start, s, cap) >= limit for its in probes for s in its.snapshots):
            return ""
    return "not all slots were seen in use after providers were given up"


def _witness(proof: list[_Stalled], silence: Silence) -> Witness:
    return Witness(
        sentence=f"A provider that sends nothing for {silence.idle_timeout_s:g} s is promised to "
        f"be given up; {len(proof)} times of {len(proof)} the call was still open after that.",
        facts=tuple(
            line
            for its in proof
            for line in (
                witness.where(its.start, its.played),
                f"{witness.attempt_line(its.start, its.played, its.call)}; silent from "
                f"{witness.at(its.played, its.silent_ns)} on",
            )
        ),
    )


GIVES_UP = Check(
    id="silence/gives-up",
    promise=Silence,
    scenarios=SCENARIOS,
    exempt=promised.idle_timeout,
    judge=_gives_up,
    timed=True,
    promised="A provider that sends nothing for `silence.idle_timeout_s`, before its response "
    "headers or within a stream, is given up: the call is closed, and its slot is released.",
    proved="Three times of three on a route and mode, in quiet moments, the call was open for a "
    "quarter longer than that (half a second at least) after the provider's last byte. Or all "
    "slots were occupied before such calls, and two probes after them, 2 s apart, occupied fewer "
    "while clients waited, though single requests were answered.",
    doubt="In the router's favour: each call is timed by itself, so that another attempt has its "
    "own time. No slot in use is a circuit breaker's doing, after `recovery_s`, and inconclusive; "
    "so are more missing slots than calls that were given up.",
    bug="No timeout for reads once the headers are there, or a slot that the timeout's way out "
    "does not release: BerriAI/litellm #20256, vllm-project/production-stack #749.",
    fix="Set a timeout for every read from a provider, and release the slot in a `finally`.",
)
