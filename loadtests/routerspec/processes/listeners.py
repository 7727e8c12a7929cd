"""Who listens on a port, and since when: so that a stranger is not taken for our router.

Decides by Linux's ``/proc``; where there is none, or it may not be read, nobody is seen. Refuses
to judge by process group: a router in a container is listened for by a process of Docker's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"


def older_listener(port: int, pid: int) -> int | None:
    """A process that listens on ``port`` and was there before the process ``pid``; None if none.

    Servers that share their port (HAProxy, SO_REUSEPORT) start beside a stale one without a word,
    and half of what is sent would go to each.
    """
    born = _born(pid)
    sockets = {f"socket:[{inode}]" for inode in _listening_sockets(port)}
    if born is None or not sockets:
        return None
    for other in _processes():
        began = _born(other)
        if began is not None and began < born and not sockets.isdisjoint(_open_files(other)):
            return other
    return None


def _listening_sockets(port: int) -> Iterator[str]:
    """Inodes, as in the two tables of TCP sockets."""
    for name in ("tcp", "tcp6"):
        try:
            rows = (_PROC / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTENING and int(fields[1].rsplit(":", 1)[1], 16) == port:
                yield fields[9]


def _processes() -> list[int]:
    try:
        return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    except OSError:
        return []


def _born(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return int(stat.rsplit(")", 1)[1].split()[19])


def _open_files(pid: int) -> Iterator[str]:
    try:
        for link in (_PROC / str(pid) / "fd").iterdir():
            try:
                yield str(link.readlink())
            except OSError:
                continue
    except OSError:
        return
