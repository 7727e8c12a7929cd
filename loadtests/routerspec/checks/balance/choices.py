"""A call is given to an idle instance while there is one: ``least-busy``, for balance/spread.

A matter of facts, not of shares: a call was given to an instance that had one open already, while
another had none. Two snapshots show it, one before the client sent its request and one after the
call was held: the earlier call and the idle instance are in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fake_providers.records.evidence import Call
from routerspec.checks import instances, results, witness
from routerspec.checks.balance.excuses import excuse
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import BUSY_CHOICES
from routerspec.records.observations import Snapshot
from routerspec.verdict import Finding, Number, Witness

SCENARIO: Final = "balance-busy"
ACCUSE: Final = 2
"""Choices of a busy instance that it takes to accuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """A call that was given to an instance while another was idle."""

    start: StartHistory
    played: PlayedRound
    call: Call
    before: Snapshot
    after: Snapshot
    idle: tuple[str, ...]
    """Instances without any call in both snapshots."""
    busy: bool
    """The chosen one had a call open already."""


def least_busy(history: History) -> Finding:
    """What was seen of a promise of ``least-busy``."""
    choices: list[_Choice] = []
    excuses: list[str] = []
    for provider, pool in instances.pools(history).items():
        for start, played in history.rounds(SCENARIO):
            if played.round.part.split()[0] == provider:
                choices += _choices(start, played, pool)
                excuses.append(excuse(history, start, played, pool))
    numbers: dict[str, Number] = {
        "choices": len(choices),
        "busy_chosen": sum(choice.busy for choice in choices),
    }
    wrong = [choice for choice in choices if choice.busy]
    why = next((text for text in excuses if text), "")
    if not why and history.promises.workers > 1:
        why = "a process of the router knows its own calls alone"
    if not why and len(wrong) < ACCUSE:
        why = f"{ACCUSE} times are needed to accuse"
    if wrong and not why:
        return _wrongly_chosen(wrong, numbers)
    if wrong:
        return results.inconclusive(f"a busy instance was chosen, but {why}", numbers)
    if len(choices) < BUSY_CHOICES:
        return results.too_few(
            len(choices), "calls were sent with one instance busy and another idle", BUSY_CHOICES,
            numbers,
        )  # fmt: skip
    return results.held(f"{len(choices)} calls of {len(choices)} went to an idle instance", numbers)


def _choices(start: StartHistory, played: PlayedRound, pool: tuple[str, ...]) -> list[_Choice]:
    found = []
    for client, call in instances.requests(start, played):
        before = [s for s in played.snapshots if s.answered_ns <= client.started_ns]
        after = [
            s
            for s in played.snapshots
            if client.sent_ns is not None
            and s.asked_ns >= client.sent_ns
            and any((h.provider, h.call) == (call.provider, call.call) for h in s.held)
        ]
        if not before or not after or call.provider not in pool:
            continue
        first, second = before[-1], after[0]
        idle = tuple(n for n in pool if not first.open.get(n, 0) and not second.open.get(n, 0))
        kept = {(h.provider, h.call) for h in first.held} & {
            (h.provider, h.call) for h in second.held
        }
        busy = call.provider in {name for name, _ in kept}
        if kept and (idle or not busy):
            found.append(
                _Choice(
                    start=start,
                    played=played,
                    call=call,
                    before=first,
                    after=second,
                    idle=idle,
                    busy=busy,
                )
            )
    return found


def _wrongly_chosen(wrong: list[_Choice], numbers: dict[str, Number]) -> Finding:
    choice = wrong[0]
    start, played, name = choice.start, choice.played, choice.call.provider
    earlier = [h for h in choice.before.held if h.provider == name]
    calls = [
        start.call_at[h.provider, h.call] for h in earlier if (h.provider, h.call) in start.call_at
    ]
    sentence = (
        f"The promise is least-busy, and a call was given to {name}, which had {len(earlier)} "
        f"open, while {choice.idle[0]} had none in a snapshot before the request and in one after."
    )
    facts = (
        witness.where(start, played),
        witness.snapshot_line(played, choice.before),
        *(witness.call_line(start, played, call) for call in calls[:2]),
        witness.call_line(start, played, choice.call),
        witness.snapshot_line(played, choice.after),
        f"idle in both snapshots: {', '.join(choice.idle)}",
        f"so it was {len(wrong)} times",
    )
    summary = (
        f"{len(wrong)} of {numbers['choices']} calls went to a busy instance, another was idle"
    )
    return results.violated(summary, Witness(sentence=sentence, facts=facts), numbers)
