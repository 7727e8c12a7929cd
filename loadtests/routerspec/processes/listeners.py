"""Which process listens on a port, and since when: a stale server is not taken for our router.

In doubt for the router: a process that we may not see is not there. Process groups say nothing: for
a router in a container, a process of Docker's listens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psutil  # type: ignore[import-untyped]


def older_listener(port: int, pid: int) -> int | None:
    """A process that listens on ``port`` and was started before the process ``pid``; None if none.

    Servers that share their port (HAProxy, SO_REUSEPORT) start beside a stale one without a word,
    and half of all requests would go to each.
    """
    started = _start_time(pid)
    if started is None:
        return None
    for listener in listeners(port):
        time = _start_time(listener)
        if time is not None and time < started:
            return listener
    return None


def listeners(port: int) -> Iterator[int]:
    """Processes that listen on ``port``; where all may not be seen (macOS), those that may."""
    try:
        yield from {c.pid for c in psutil.net_connections("tcp") if c.pid and _is_at(c, port)}
    except psutil.AccessDenied:
        for process in psutil.process_iter():
            try:
                connections = process.net_connections("tcp")
            except psutil.Error:
                continue
            if any(_is_at(connection, port) for connection in connections):
                yield process.pid


def _is_at(connection: Any, port: int) -> bool:
    listens: bool = connection.status == psutil.CONN_LISTEN
    return listens and connection.laddr.port == port


def _start_time(pid: int) -> float | None:
    """Seconds since the epoch; None for a process that is gone or may not be seen."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
