"""What is done to a replica of the router, or to a service that replicas share.

Signals to whole process groups, and processes that are started again at the same port: no root is
needed. Refuses to know why.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Final

import psutil  # type: ignore[import-untyped]

from routerspec.errors import HarnessError
from routerspec.processes.child import Child
from routerspec.processes.ports import is_taken
from routerspec.processes.replicas import Cluster
from routerspec.records.router_process import Ask

_WITHIN_S: Final = 5.0
_POLL_S: Final = 0.002


def disturb(cluster: Cluster, ask: Ask) -> None:
    """Do it, and return once it is seen to be done. Replica 0: all of them, one after the other.

    Raises HarnessError where it cannot be done, TargetNotReady where what is started again does
    not become ready.
    """
    if ask.what in _OF_SERVICE:
        if ask.service not in cluster.services:
            raise HarnessError(f"There is no service {ask.service!r}.")
        _OF_SERVICE[ask.what](cluster, ask.service)
        return
    for number in _replicas(cluster, ask.replica):
        if ask.what in _OF_RELAY:
            for relay in _relays(cluster, number, ask.service):
                _OF_RELAY[ask.what](relay)
        else:
            _OF_REPLICA[ask.what](cluster, number)


def _replicas(cluster: Cluster, number: int) -> range:
    if number > len(cluster.routers):
        raise HarnessError(f"There is no replica {number}.")
    return range(number, number + 1) if number else range(1, len(cluster.routers) + 1)


def _relays(cluster: Cluster, number: int, service: str) -> Iterator[Child]:
    """Those of this replica to a service, or to all of them."""
    found = [
        relay
        for (its, name), (relay, _) in cluster.relays.items()
        if its == number and service in {"", name}
    ]
    if not found:
        raise HarnessError(f"Replica {number} has no relay to a service {service!r}.")
    yield from found


def _kill(cluster: Cluster, number: int) -> None:
    cluster.down.add(number)
    _end(_child(cluster, number), cluster.routers[number - 1].port)


def _start(cluster: Cluster, number: int) -> None:
    """At the port that it had: its URL is the same."""
    port = cluster.routers[number - 1].port
    cluster.routers[number - 1] = cluster.start_replica(number, port)
    cluster.down.discard(number)


def _child(cluster: Cluster, number: int) -> Child:
    child = cluster.routers[number - 1].child
    if child is None:
        raise HarnessError("The router is not ours: it cannot be signalled.")
    return child


def _end(child: Child, port: int) -> None:
    """SIGKILL to all its processes; done once nobody listens at the port any more."""
    child.signal_group(signal.SIGKILL)
    child.stop()
    _await(lambda: not is_taken(port), "its port is still taken after SIGKILL")


def _pause(child: Child) -> None:
    child.signal_group(signal.SIGSTOP)
    _await(
        lambda: all(_is_paused(each) for each in _processes(child)), "it still runs after SIGSTOP"
    )


def _resume(child: Child) -> None:
    child.signal_group(signal.SIGCONT)
    _await(
        lambda: not any(_is_paused(each) for each in _processes(child)),
        "it is still stopped after SIGCONT",
    )


def _processes(child: Child) -> list[psutil.Process]:
    """It, and what it has started."""
    try:
        leader = psutil.Process(child.pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _is_paused(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_STOPPED)
    return False


def _await(done: Callable[[], bool], fault: str) -> None:
    give_up = time.monotonic() + _WITHIN_S
    while not done():
        if time.monotonic() > give_up:
            raise HarnessError(f"It could not be disturbed: {fault}.")
        time.sleep(_POLL_S)


def _lose(cluster: Cluster, name: str) -> None:
    cluster.gone.add(name)
    service = cluster.services[name]
    assert service.child is not None
    _end(service.child, service.port)


def _bring_back(cluster: Cluster, name: str, *, empty: bool = False) -> None:
    cluster.services[name] = cluster.services[name].again(empty=empty)
    cluster.gone.discard(name)


def _restart(cluster: Cluster, name: str) -> None:
    _lose(cluster, name)
    _bring_back(cluster, name, empty=True)


_OF_SERVICE: Final[dict[str, Callable[[Cluster, str], None]]] = {
    "restarted": _restart,
    "gone": _lose,
    "back": _bring_back,
}
_OF_RELAY: Final[dict[str, Callable[[Child], None]]] = {"cut-off": _pause, "rejoined": _resume}
_OF_REPLICA: Final[dict[str, Callable[[Cluster, int], None]]] = {
    "killed": _kill,
    "started": _start,
    "paused": lambda cluster, number: _pause(_child(cluster, number)),
    "resumed": lambda cluster, number: _resume(_child(cluster, number)),
}
DISTURBANCES: Final[frozenset[str]] = frozenset({*_OF_SERVICE, *_OF_RELAY, *_OF_REPLICA})
"""All that can be asked for."""
