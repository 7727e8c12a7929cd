"""The answers: does every client get its own, every piece of it, in order, once?

Every piece says whose it is. A quarter of the clients hang up half-way. Compared are only clients
whose answer one call made, and whose provider said all of it.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from routerspec.repro.kit import PIECES, Answer, Client, Lab, pieces_in, quiet, reached, say


def show(lab: Lab) -> bool:
    """True when a client got a piece of another's answer, or not all of its own in order."""
    foreign = broken = compared = 0
    example = ""
    for _ in range(5):
        for client in _asked(lab):
            made = [call for call in lab.calls_of(client) if not call.embeds]
            got = pieces_in(client.text)
            if any(whose != client.number for whose, _, _ in got):
                foreign += 1
                example = f"client {client.number} got {got}"
            if len(made) != 1 or not made[0].finished or client.failed or not client.well:
                continue
            compared += 1
            if [number for whose, _, number in got if whose == client.number] != [*range(PIECES)]:
                broken += 1
                example = example or f"client {client.number} got {got}"
    say(
        f"{compared} whole answers compared: {broken} not as their provider made them; {foreign} "
        f"clients got pieces of another's. {example}"
    )
    return bool(foreign) if lab.told["how"] == "own" else broken > 0


def _asked(lab: Lab) -> list[Client]:
    gate, cells = threading.Event(), lab.told["cells"]

    def half(answer: Answer) -> None:
        if answer.call.stream and not answer.call.embeds:
            answer.pieces(PIECES // 2)
        if answer.wait(gate):
            answer.whole()

    lab.answer_with(half)
    clients: list[Any] = [lab.client(*cells[n % len(cells)]) for n in range(2 * len(cells) + 6)]
    for client in clients:
        client.ask()
    reached(lambda: len(lab.open_calls()), 1)
    quiet(lambda: len(lab.open_calls()), for_s=0.3)
    left = [client for number, client in enumerate(clients) if number % 4 == 0]
    for client in left:
        client.leave()
    time.sleep(0.1)
    gate.set()
    for client in clients:
        client.over.wait(30)
    return [client for client in clients if client not in left]
