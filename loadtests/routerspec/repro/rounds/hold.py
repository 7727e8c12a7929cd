"""The cap: five times as many requests as it allows, and providers that answer none of them.

For every route and mode that is named, or over all of them together, the calls that are open at
the providers are counted twice, a quarter of a second apart, while every client still waits.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from routerspec.repro.kit import Answer, Lab, insist, let_go, quiet, reached, say


def show(lab: Lab) -> bool:
    """True when more calls than the cap were open at once."""
    cells = lab.told["cells"]
    tries = [cells] if lab.told["together"] else [[cell] for cell in cells]
    return any(_offered(lab, cells) for cells in tries)


def _offered(lab: Lab, cells: list[tuple[dict[str, Any], str]]) -> bool:
    cap, gate, how = lab.told["cap"], threading.Event(), lab.told["how"]
    if how == "failures":
        _fail(lab, cells)

    def held(answer: Answer) -> None:
        if how == "first" and answer.call.embeds:
            answer.whole()  # what a RAG route asks first; its stream is what is looked at
        elif how == "second" and answer.call.attempt == 1:
            answer.error(500)
        else:
            if how == "first" and answer.call.stream:
                answer.pieces(1)
            if answer.wait(gate):
                answer.whole()

    lab.answer_with(held)
    count = (10 if how == "burst" else 5) * cap
    clients = [lab.client(*cells[number % len(cells)]) for number in range(count)]
    _ask(clients, at_once=how == "burst")
    reached(lab.busy, cap, within_s=5)
    # Longer than the window of a limiter that counts by the second, or just until all are there.
    insist(lab, clients, for_s={"long": 3.0, "burst": 0.3}.get(how, 0.7))
    first = {id(call) for call in lab.open_calls() if _waits(clients, call.number)}
    time.sleep(0.27)
    both = [c for c in lab.open_calls() if id(c) in first and _waits(clients, c.number)]
    most = lab.busy(both)
    let_go(gate, clients)
    quiet(lambda: len(lab.open_calls()), for_s=0.3)
    tried = " + ".join(f"{route['name']} {mode}" for route, mode in cells)
    say(
        f"{tried}: {count} requests, cap {cap}: {most} calls were open at the providers at once, "
        f"for at least a quarter of a second, and the clients of all of them waited: "
        f"{'MORE THAN THE CAP' if most > cap else 'within the cap'}"
    )
    return most > int(cap)


def _ask(clients: list[Any], *, at_once: bool) -> None:
    """One after the other, or all in one instant."""
    for client in clients:
        client.ask_all_but_the_last_byte() if at_once else client.ask()
    if at_once:
        reached(lambda: sum(client.ready for client in clients), len(clients), within_s=5)
        for client in clients:
            client.write_the_last_byte()


def _waits(clients: list[Any], number: int) -> bool:
    return any(client.number == number and client.waiting for client in clients)


def _fail(lab: Lab, cells: list[tuple[dict[str, Any], str]]) -> None:
    """Errors, broken connections, cuts and hang-ups, one by one, twice as many as the cap."""
    for number in range(2 * lab.told["cap"]):
        how, gate = ("error", "reset", "hang-up")[number % 3], threading.Event()

        def failing(answer: Answer, how: str = how, gate: threading.Event = gate) -> None:
            if how == "hang-up":
                answer.wait(gate)
            elif how == "error":
                answer.error(500)
            else:
                answer.reset()

        lab.answer_with(failing)
        client = lab.client(*cells[number % len(cells)]).ask()
        if how == "hang-up":
            reached(lambda: len(lab.open_calls()), 1, within_s=2.0)
            client.leave()
        client.over.wait(30)
        gate.set()
    quiet(lambda: len(lab.open_calls()))
    time.sleep(lab.told["recovery_s"])
