"""Rounds on several replicas of a router: what they share, and what a fault of one does to it."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterable

from routerspec.repro.kit.clients import Client, Exchange, send_at_once
from routerspec.repro.kit.lab import (
    Lab,
    NotExercisedError,
    fetches,
    idle,
    release,
    say,
    wait_until,
)
from routerspec.repro.kit.providers import Answer, Call


def slots_of_killed(lab: Lab) -> bool:
    """Occupy the slots by the last replica, let others' clients wait, and kill it (SIGKILL).

    True when more calls are then open than the cap allows, or its slots have not come back when
    three times the promised time has passed.
    """
    promise = lab.settings["cluster"]
    gate, mine, others = _filled(lab)
    lab.signal(_name(lab), signal.SIGKILL)
    within_s = promise["recovers_within_s"]
    began = time.monotonic()
    over = _over_within(lab, others, 3 * (within_s or promise["fault_s"]), full_ends=True)
    took_s, back = time.monotonic() - began, len(lab.open_for(others)) >= lab.cap
    if not over and promise["coordination"] != "static":
        say(f"{len(lab.open_for(others))} of {lab.cap} slots in use {took_s:.1f} s after the kill")
    release(gate, [*mine, *others])
    judged = within_s is not None and promise["coordination"] != "static"
    return over or (judged and not back)


def over_in_pause(lab: Lab) -> bool:
    """Occupy the slots by the last replica, let others' clients wait, and pause it (SIGSTOP).

    It is resumed after three leases (3 s without one). True when more calls than the cap allows
    are open meanwhile; with leases, when they are three seconds and more after it was resumed.
    """
    promise = lab.settings["cluster"]
    gate, mine, others = _filled(lab)
    lab.signal(_name(lab), signal.SIGSTOP)
    over = _over_within(lab, [*mine, *others], promise["fault_s"])
    lab.signal(_name(lab), signal.SIGCONT)
    if promise["coordination"] == "lease":
        time.sleep(3.0)
        over = _over_within(lab, [*mine, *others], 1.5)
    release(gate, [*mine, *others])
    return over


def over_when_cut_off(lab: Lab) -> bool:
    """Occupy the slots by the last replica, which reaches the store through a relay, and stop that.

    Nothing passes for three leases (3 s without one), and then it does again. True when more calls
    than the cap allows are open at once.
    """
    relays: list[Relay] = []

    def through(port: str) -> str:
        relays.append(Relay(int(port)))
        return str(relays[-1].port)

    lab.reach = through
    lab.start_again()
    promise = lab.settings["cluster"]
    gate, mine, others = _filled(lab)
    for relay in relays:
        relay.passes.clear()
    clients = [*mine, *others]
    over = _over_within(lab, clients, promise["fault_s"])
    for relay in relays:
        relay.passes.set()
    over = over or _over_within(lab, clients, 3.0)
    release(gate, clients)
    return over


def over_after_restart(lab: Lab) -> bool:
    """Occupy the slots over all replicas, kill the store, and start it again with nothing in it.

    Then send as many requests again. True when more calls than the cap allows are open at once.
    """
    gate, mine, others = _filled(lab)
    lab.end_services()
    lab.start_services()
    more = [_to(lab, 1 + n % len(lab.replicas)) for n in range(2 * lab.cap)]
    clients = [*mine, *others, *more]
    over = _over_within(lab, clients, lab.settings["cluster"]["fault_s"] + 2.0)
    release(gate, clients)
    return over


def wrong_without_store(lab: Lab) -> bool:
    """Kill the store with calls held, release them, wait for three leases, and send requests.

    True when a request that is sent then reaches a provider, if nothing is to be admitted without
    the store; or when more calls of one replica are open than the cap allows.
    """
    promise = lab.settings["cluster"]
    gate, mine, others = _filled(lab, queue=0)
    lab.end_services()
    release(gate, [*mine, *others])
    whole = sum(client.status == 200 for client in mine + others)
    say(f"{whole} of {len(mine + others)} calls in flight were answered")
    time.sleep(promise["fault_s"])
    gate, wrong = lab.hold(), False
    late = {n: [_to(lab, n) for _ in range(lab.cap + 1)] for n in lab.replicas}
    time.sleep(1.5)
    for number, clients in late.items():
        open_ = len(lab.open_for(clients))
        say(f"replica {number} without the store: {open_} calls open, cap {lab.cap}")
        wrong = wrong or open_ > (0 if promise["store_loss"] == "closed" else lab.cap)
    release(gate, [client for clients in late.values() for client in clients], within_s=0.5)
    cut = promise["coordination"] == "lease" and whole < len(mine + others)
    return wrong or cut


def fetched_by_each(lab: Lab) -> bool:
    """Let fifty clients request the list of all replicas at once, with a fetch that takes a second.

    Once with an empty cache, and where a lock is promised once more with a fetch that takes half as
    long again as that. True when two fetches from one provider are open at once. Then the replica
    that fetches is killed: True when no other fetches within three times the promised time.
    """
    if len(lab.replicas) < 2:
        raise NotExercisedError("The router does not run in replicas.")
    lock_s = lab.settings["cluster"]["lock_s"]
    broken = _stampede(lab, 1.0)
    if lock_s is not None and not broken:
        lab.start_again()
        broken = _stampede(lab, 1.5 * lock_s) or _left_by_killed(lab, lock_s)
    return broken


# -- parts -----------------------------------------------------------------------------------


class Relay:
    """Passes bytes to a port and back, or nothing at all."""

    def __init__(self, to: int) -> None:
        self.passes = threading.Event()
        self.passes.set()
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            near, _ = self._listener.accept()
            self.passes.wait()
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:  # The store is gone.
                near.close()
                continue
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(1 << 16):
                self.passes.wait()
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            other.close()


def _name(lab: Lab) -> str:
    """The last replica, which is the one that is disturbed."""
    return f"router-{max(lab.replicas)}"


def _to(lab: Lab, replica: int) -> Client:
    return Client(lab.replicas[replica], lab.cells[0]).send()


def _filled(lab: Lab, queue: int = 5) -> tuple[threading.Event, list[Client], list[Client]]:
    """The gate, the last replica's clients in all slots but one, and those of others: one with a
    slot, and ``queue`` times the cap that wait.
    """
    if len(lab.replicas) < 2:
        raise NotExercisedError("The router does not run in replicas.")
    gate, last, cap = lab.hold(), max(lab.replicas), lab.cap
    mine = [_to(lab, last) for _ in range(max(1, cap - 1))]
    wait_until(lambda: lab.busy() >= len(mine), within_s=5)
    others = [_to(lab, 1) for _ in range(cap - len(mine))]
    wait_until(lambda: lab.busy() >= cap, within_s=5)
    others += [_to(lab, 1 + n % (last - 1)) for n in range(queue * cap)]
    idle(lab)
    if not lab.open_for(mine):
        release(gate, [*mine, *others], within_s=1.0)
        raise NotExercisedError("The last replica got no slot.")
    say(f"{len(lab.open_for([*mine, *others]))} calls held, cap {cap}")
    return gate, mine, others


def _over_within(
    lab: Lab, clients: Iterable[Client], for_s: float, *, full_ends: bool = False
) -> bool:
    """Whether more calls of these clients than the cap are open, at two looks a second apart."""
    its = list(clients)
    give_up = time.monotonic() + for_s
    while True:
        first = set(lab.open_for(its))
        if len(first) > lab.cap:
            time.sleep(1.0)
            both = [call for call in lab.open_for(its) if call in first]
            if lab.busy(both) > lab.cap:
                say(f"{len(both)} calls open at once for a second, MORE THAN THE CAP {lab.cap}")
                return True
        if time.monotonic() > give_up or (full_ends and len(first) == lab.cap):
            return False
        time.sleep(0.1)


def _stampede(lab: Lab, takes_s: float) -> bool:
    before, slow = fetches(lab), {each.name for each in lab.providers}

    def first_slowly(answer: Answer) -> None:
        if answer.call.provider in slow:
            slow.discard(answer.call.provider)
            time.sleep(takes_s)
        answer.models()

    lab.list_with(first_slowly)
    clients = [lab.lister_at(1 + n % len(lab.replicas)) for n in range(50)]
    send_at_once(clients)
    for client in clients:
        client.done()
    return _at_once(lab, before) > 1


def _at_once(lab: Lab, before: dict[str, int]) -> int:
    """Most fetches from one provider that were open at once."""
    most = 0
    for provider in lab.providers:
        its = provider.lists[before[provider.name] :]
        most = max([most, *(sum(_open_at(f, fetch.began) for f in its) for fetch in its)])
        say(f"{provider.name}: {len(its)} fetches for 50 clients of {len(lab.replicas)} replicas")
    return most


def _open_at(fetch: Call, at: float) -> bool:
    return fetch.began <= at and (fetch.ended is None or fetch.ended > at)


def _left_by_killed(lab: Lab, lock_s: float) -> bool:
    time.sleep(lab.settings["ttl_s"] + 1.4)
    held = threading.Event()

    def first_never(answer: Answer) -> None:
        if not held.is_set():
            held.set()
            time.sleep(60)
        answer.models()

    lab.list_with(first_never)
    victim = max(lab.replicas)
    first = lab.lister_at(victim).send()
    wait_until(held.is_set, within_s=5)
    others = [lab.lister_at(1 + n % (victim - 1)).send() for n in range(10)]
    time.sleep(0.3)
    before = fetches(lab)
    lab.signal(_name(lab), signal.SIGKILL)
    wait_until(lambda: fetches(lab) != before or _all_done(others), 3 * lock_s)
    late = fetches(lab) == before and not _all_done(others)
    say(f"{3 * lock_s:g} s after the kill: {'no other fetch' if late else 'another fetch'}")
    for client in (first, *others):
        client.leave()
    return late


def _all_done(exchanges: Iterable[Exchange]) -> bool:
    return all(exchange.over.is_set() for exchange in exchanges)
