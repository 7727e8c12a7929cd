"""Rounds that read the pieces of answers: whose they are, when they come, and how they end."""

from __future__ import annotations

import time
from typing import Any

from routerspec.repro.kit.clients import Client, label, pieces_in, says_error, says_finished
from routerspec.repro.kit.lab import (
    Lab,
    NotExercisedError,
    all_over,
    any_cell,
    idle,
    release,
    say,
    times_in_row,
    wait_until,
)
from routerspec.repro.kit.providers import PIECES, Answer


def mixed(lab: Lab, *, lost: bool = False) -> bool:
    """Run requests side by side, a quarter of whose clients disconnect half-way.

    Every piece says whose it is. True when a client gets a piece of another's answer or, with
    ``lost``, not all of its own in order and once, though one call made it and was sent whole.
    """
    foreign = broken = whole = 0
    example = ""
    for client in [client for _ in range(5) for client in _half_disconnected(lab)]:
        made = [call for call in lab.calls_of(client) if not call.embeds]
        got = pieces_in(client.text, client.cell["path"])
        own = [number for whose, _, number in got if whose == client.number]
        if strange := len(own) < len(got):
            foreign += 1
        if disordered := len(made) == 1 and made[0].finished and client.succeeded:
            whole += 1
            disordered = own != [*range(PIECES)]
            broken += disordered
        if strange or disordered:
            example = example or f"client {client.number} got {got}"
    say(
        f"{whole} whole answers compared: {broken} not as their provider made them; {foreign} "
        f"clients got pieces of another's. {example}"
    )
    if not whole and not foreign:
        raise NotExercisedError("No client got a whole answer.")
    return (broken if lost else foreign) > 0


def _half_disconnected(lab: Lab) -> list[Client]:
    """The clients that stayed."""
    gate, cells = lab.hold(PIECES // 2), lab.cells
    clients = [lab.request(cells[n % len(cells)]) for n in range(2 * len(cells) + 6)]
    wait_until(lambda: lab.open_calls() or all_over(clients))
    idle(lab)
    for client in clients[::4]:
        client.leave()
    time.sleep(0.1)
    release(gate, clients, within_s=30)
    return [client for number, client in enumerate(clients) if number % 4]


def late_pieces(lab: Lab) -> bool:
    """Let a provider send eight pieces of a stream, 8 KiB in all, and pause.

    True when the client has got nothing two seconds later, three times of three.
    """

    def trial(cell: dict[str, Any]) -> bool:
        paused = 0

        def late() -> bool:
            nonlocal paused
            gate = lab.hold(8, pad="." * 1024, only_streams=True)
            client = lab.request(cell)
            wait_until(
                lambda: (
                    client.over.is_set()
                    or any(call.pieces_sent >= 8 for call in lab.calls_of(client))
                )
            )
            wait_until(lambda: client.text or client.over.is_set(), within_s=2)
            held = any(call.open and call.pieces_sent >= 8 for call in lab.calls_of(client))
            paused += held
            kept_back = held and not client.text and not client.over.is_set()
            gate.set()
            client.done()
            return kept_back and bool(client.text)

        late_times = times_in_row(late)
        say(
            f"{label(cell)}: {late_times} times of 3 the client had nothing two seconds after its "
            "provider had sent eight pieces, and got it once the provider went on"
        )
        if not paused:
            raise NotExercisedError("No provider's stream was paused.")
        return late_times == 3

    return any_cell(lab, trial)


def cut_short(lab: Lab, *, replay: bool = False) -> bool:
    """Cut streams after two pieces: by a reset, by a close, and by a clean end without a finish.

    True when the client's answer says that it is finished, which no provider has said. With
    ``replay`` a second attempt is answered: true when the client gets pieces of both.
    """
    return any_cell(
        lab,
        lambda cell: any(_cut(lab, cell, how, replay) for how in ("cut", "close", "clean end")),
    )


def _cut(lab: Lab, cell: dict[str, Any], how: str, replay: bool) -> bool:
    def answered(answer: Answer) -> None:
        if replay and answer.call.attempt > 1:
            answer.whole()
        else:
            answer.fail(how)

    lab.answer_with(answered)
    client = lab.request(cell)
    client.done()
    got = pieces_in(client.text, client.cell["path"])
    streams = [call for call in lab.calls_of(client) if call.stream]
    if replay:
        wrong = len({attempt for _, attempt, _ in got}) > 1
    else:
        wrong = says_finished(client.text) and not any(call.finished for call in streams)
    wrong = wrong and not says_error(client.text)
    says = {"cut": "a reset", "close": "a close", "clean end": "a clean end without a finish"}[how]
    say(
        f"{label(cell)}: the provider's stream ended after two pieces by {says}; the client got "
        f"{got} and {client.text[-60:]!r}{': WRONG' if wrong else ''}"
    )
    if not streams:
        raise NotExercisedError("No stream reached a provider.")
    return wrong
