"""Rounds in which the router is told to drain, or to read its configuration again."""

from __future__ import annotations

import signal
import threading
import time

from routerspec.repro.kit.clients import Client, label, says_finished
from routerspec.repro.kit.lab import (
    Lab,
    NotExercisedError,
    idle,
    release,
    say,
    settled,
    times_in_row,
    wait_until,
)


def cut_by_drain(lab: Lab) -> bool:
    """Hold a request on each route, tell the router to drain, and release them half-way.

    True when a request that a provider had before the signal is not answered whole.
    """
    promise = lab.settings["drain"]
    lab.start_again()
    gate, clients = _held(lab, min(lab.cap, len(lab.cells)))
    lab.send_signal(promise["signal"])
    time.sleep(min(0.45 * promise["within_s"], 3.0))
    release(gate, clients, within_s=promise["within_s"])
    return _any_cut(clients, "was told to drain")


def begun_in_drain(lab: Lab) -> bool:
    """Hold a stream, tell the router to drain, and send a request after half of its time.

    True when the new request reaches a provider, three times of three.
    """
    promise = lab.settings["drain"]

    def begun() -> bool:
        lab.start_again()
        gate, clients = _held(lab, 1)
        lab.send_signal(promise["signal"])
        time.sleep(0.55 * promise["within_s"])
        if clients[0].over.is_set():
            raise NotExercisedError("The router had nothing left to drain by then.")
        late = lab.request(lab.cells[0])
        late.done(0.5)
        calls = len(lab.calls_of(late))
        say(f"a request late in the drain: {late.status or late.failure or 'waits'}, {calls} calls")
        late.leave()
        release(gate, clients, within_s=0.1)
        return calls > 0

    return times_in_row(begun) == 3


def late_exit(lab: Lab) -> bool:
    """Hold a request for longer than the router has time to drain, and wait for its exit.

    True when it still runs after its time, three times of three, or its exit status is not 0.
    """
    promise = lab.settings["drain"]
    number = int(getattr(signal, f"SIG{promise['signal']}"))
    accepted = (0, -number, 128 + number)
    wrong: list[int] = []

    def late() -> bool:
        lab.start_again()
        gate, clients = _held(lab, 1)
        lab.send_signal(promise["signal"])
        status = lab.exit_status(promise["within_s"] + max(0.5, 0.1 * promise["within_s"]))
        release(gate, clients, within_s=0.1)
        say(f"{promise['within_s']:g} s after the signal: exit status {status}")
        wrong.extend([status] if status not in (None, *accepted) else [])
        return status is None

    return times_in_row(late) == 3 or bool(wrong)


def left_by_drain(lab: Lab) -> bool:
    """Occupy all slots, with clients in the queue, and tell the router to drain.

    True when more calls are then open than the cap allows, or some are open after its exit.
    """
    promise = lab.settings["drain"]
    lab.start_again()
    gate, clients = _held(lab, lab.cap)
    clients += [lab.request(lab.cells[0]) for _ in range(3)]
    idle(lab)
    lab.send_signal(promise["signal"])
    time.sleep(0.3)
    most = settled(lambda: lab.busy(lab.open_for(clients)), 0.3, 1.0)
    say(f"{most} calls open while it drains, cap {lab.cap}")
    lab.exit_status(promise["within_s"] + 2)
    time.sleep(1)
    left = len(lab.open_calls()) if lab.exit_status() is not None else 0
    say(f"{left} calls open a second after its exit")
    release(gate, clients, within_s=0.1)
    return most > lab.cap or left > 0


def not_served(lab: Lab) -> bool:
    """Occupy all slots, and reload the router with a cap that is larger by two.

    True when fewer calls than the new cap are let in, three times of three; or the router exits.
    """
    promise = lab.settings["reload"]

    def missed() -> bool:
        lab.start_again()
        gate, clients = _held(lab, lab.cap)
        _reload(lab)
        wanted = promise["cap"] or lab.cap + 1
        give_up = time.monotonic() + promise["within_s"] + max(0.5, 0.1 * promise["within_s"])
        while lab.busy() < wanted and lab.exit_status() is None and time.monotonic() < give_up:
            clients.append(lab.request(lab.cells[len(clients) % len(lab.cells)]))
            time.sleep(0.15)  # a process that is being replaced may keep the first ones waiting
        most, status = lab.busy(), lab.exit_status()
        release(gate, clients)
        say(f"{most} calls open after the reload, new cap {promise['cap']}, exit status {status}")
        answered = any(client.succeeded for client in clients[lab.cap :])
        unseen = promise["cap"] is None  # in no file, so that only an answer shows anything
        return (most < wanted and not unseen) or status is not None or not answered

    return times_in_row(missed) == 3


def cut_by_reload(lab: Lab) -> bool:
    """Hold a request on each route, reload the router, and release them.

    True when one of them is not answered whole.
    """
    lab.start_again()
    gate, clients = _held(lab, min(lab.cap, len(lab.cells)))
    _reload(lab)
    time.sleep(1)
    release(gate, clients)
    return _any_cut(clients, "was reloaded")


def two_caps(lab: Lab) -> bool:
    """Occupy all slots, reload the router, and then offer as many requests again.

    True when more calls are open at once than the larger one of both caps.
    """
    promise = lab.settings["reload"]
    lab.start_again()
    allowed = max(lab.cap, promise["cap"] or 0)
    gate, clients = _held(lab, lab.cap)
    _reload(lab)
    time.sleep(promise["within_s"])  # what comes at once may wait in a process that is replaced
    offered = lab.cap + allowed
    clients += [lab.request(lab.cells[n % len(lab.cells)]) for n in range(offered)]
    most = settled(lambda: lab.busy(lab.open_for(clients)))
    time.sleep(0.3)
    most = min(most, lab.busy(lab.open_for(clients)))
    release(gate, clients)
    say(f"{most} calls open at once over the reload, cap {allowed}")
    return most > allowed


def _held(lab: Lab, count: int) -> tuple[threading.Event, list[Client]]:
    """So many requests, over the routes in turn, each held at its provider."""
    gate = lab.hold(first=1)
    clients = [lab.request(lab.cells[number % len(lab.cells)]) for number in range(count)]
    wait_until(lambda: all(lab.calls_of(client) for client in clients), 5)
    if not all(lab.calls_of(client) for client in clients):
        release(gate, clients)
        raise NotExercisedError("Not all requests reached a provider.")
    time.sleep(0.3)
    return gate, clients


def _reload(lab: Lab) -> None:
    promise = lab.settings["reload"]
    lab.write_files(promise["files"])
    if promise["signal"]:
        lab.send_signal(promise["signal"])
    else:
        lab.run_command(promise["command"])


def _any_cut(clients: list[Client], when: str) -> bool:
    cut = [client for client in clients if not _is_whole(client)]
    for client in clients:
        end = "whole" if client not in cut else client.failure or f"status {client.status}"
        say(f"{label(client.cell)}: in flight when the router {when}: {end}")
    return bool(cut)


def _is_whole(client: Client) -> bool:
    streams = client.cell["body"].get("stream")
    return client.succeeded and (not streams or says_finished(client.text))
