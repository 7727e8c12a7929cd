"""The keeper: a process that stops everything routerspec started, however routerspec ended.

routerspec writes each process group that it starts to a pipe. When the pipe closes, as it does
after ``kill -9`` too, the keeper stops the groups and, on Linux, every process with routerspec's
mark in its environment and its descendants: a child that left its group has the mark as well.
Elsewhere the groups are all that is known. A process that wipes its environment, leaves its group
and outlives its parent is not found.

It also keeps the logs of running children small. Standard library alone: it starts in milliseconds,
as ``python -I -S keeper.py MARK``.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import time
from collections.abc import Iterable

MARK = "ROUTERSPEC_PROCESS"
"""The environment variable of every process that we start: ``OWNER.TICKS.NUMBER.``, the process
that started it, the ticks at which that began, and a number."""
DONE = b"."
"""The last line from an owner that has stopped everything itself."""

_GRACE_S = 0.5
_KILLING_S = 5.0
_POLL_S = 0.03
_TICK_S = 0.5
_QUIET_SCANS = 2
"""A process between fork and exec has no mark yet: so often in a row nothing must be found."""

_HEAD = _TAIL = 1 << 20
_MOST_LOG = _HEAD + 8 * _TAIL
_NOTICE = "\n[routerspec: {:015d} bytes of this log were left out here]\n"
_NOTICE_SIZE = len(_NOTICE.format(0))


def owner_mark(pid: int) -> str:
    """The beginning of the mark of every process that ``pid`` starts."""
    return f"{pid}.{_ticks(pid) or 0}."


def marked(mark: str) -> set[int]:
    """The processes whose mark begins with ``mark``, and their descendants. Linux only.

    But for other keepers: where a routerspec was started by another, the inner one's keeper has
    work to do once that is gone.
    """
    needle = f"{MARK}={mark}".encode()
    found = {pid for pid in _pids() if _has(pid, needle)}
    if found:
        parents = {pid: _parent(pid) for pid in _pids() if not _is_keeper(pid)}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
    return found - {os.getpid()}


def kill(pid: int, number: int) -> None:
    """Signal one process; nothing where it is gone."""
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def kill_marked(mark: str) -> None:
    """Kill what ``marked`` finds, until it finds nothing."""
    give_up = time.monotonic() + _KILLING_S
    while (found := marked(mark)) and time.monotonic() < give_up:
        for pid in found:
            kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S / 5)


def left_behind() -> dict[int, str]:
    """Processes whose owner is gone: process -> its command line. Linux only."""
    found = {}
    for pid in _pids():
        mark = _mark_of(pid)
        owner = re.match(r"(\d+)\.(\d+)\.", mark)
        gone = owner and _ticks(int(owner[1])) != int(owner[2])
        if gone and not _is_dead(pid) and _namespace(pid) == _namespace(os.getpid()):
            found[pid] = _command(pid)
    return found


def trim(path: str) -> None:
    """Leave the middle out of a log that has become too long, and say how much.

    Whoever writes it appends (O_APPEND). What is written in the instant between the last read and
    the cut is left out too.
    """
    with contextlib.suppress(OSError):
        size = os.stat(path).st_size  # noqa: PTH116 - pathlib takes longer to import than we to run
        if size <= _MOST_LOG:
            return
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            earlier = re.search(rb"routerspec: (\d+) bytes", os.pread(file, _NOTICE_SIZE, _HEAD))
            tail = os.pread(file, _TAIL, size - _TAIL)
            while len(tail) < _MOST_LOG and (more := os.pread(file, _TAIL, size)):
                tail, size = tail + more, size + len(more)  # What was written meanwhile.
            tail = tail[tail.find(b"\n") + 1 :]
            left_out = size - _HEAD - len(tail)
            if earlier:
                left_out += int(earlier[1]) - _NOTICE_SIZE
            os.ftruncate(file, _HEAD)
            os.write(file, _NOTICE.format(left_out).encode() + tail)
        finally:
            os.close(file)


def main(mark: str) -> None:
    """Keep watch until the owner is gone, then end what it left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # It ends with its owner, and not before.
    owner = os.getppid()
    logs: dict[int, str] = {}
    unread, over = b"", False
    while not over:
        if select.select([0], [], [], _TICK_S)[0]:
            part = os.read(0, 1 << 16)
            over = not part
            *lines, unread = (unread + part).split(b"\n")
            for line in lines:
                _take(line, logs)
                if line == DONE and not marked(mark):
                    return
        else:
            over = os.getppid() != owner
        for log in logs.values():
            trim(log)
    _end(mark, logs)


def _take(line: bytes, logs: dict[int, str]) -> None:
    """``+GROUP LOG`` (in hex) begins, ``-GROUP`` has ended."""
    what, (group, _, log) = line[:1], line[1:].partition(b" ")
    if what == b"+":
        logs[int(group)] = os.fsdecode(bytes.fromhex(log.decode()))
    elif what == b"-":
        logs.pop(int(group), None)


def _end(mark: str, groups: Iterable[int]) -> None:
    """SIGTERM, so that ours close their files; then SIGKILL, until nothing is found any more."""
    _signal_all(mark, groups, signal.SIGTERM)
    give_up = time.monotonic() + _GRACE_S
    while time.monotonic() < give_up and _signal_all(mark, groups, 0):
        time.sleep(_POLL_S)
    give_up = time.monotonic() + _KILLING_S
    quiet = 0
    while quiet < _QUIET_SCANS and time.monotonic() < give_up:
        quiet = 0 if _signal_all(mark, groups, signal.SIGKILL) else quiet + 1
        time.sleep(_POLL_S)


def _signal_all(mark: str, groups: Iterable[int], number: int) -> bool:
    """Signal everything; whether there was anything."""
    signalled = set()
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, number)
            signalled.add(group)
    found = marked(mark)
    for pid in found:
        kill(pid, number)
    if signalled and (pids := _pids()):  # One of zombies takes signals, too.
        signalled = {_group(pid) for pid in pids if not _is_dead(pid)} & signalled
    return bool(found or signalled)


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    except OSError:
        return []


def _read(pid: int, name: str) -> bytes:
    try:
        file = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(file, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(file)


def _has(pid: int, needle: bytes) -> bool:
    return b"\0" + needle in b"\0" + _read(pid, "environ")


def _mark_of(pid: int) -> str:
    found = re.search(rb"(?:^|\0)%s=([^\0]*)" % MARK.encode(), _read(pid, "environ"))
    return found[1].decode(errors="replace") if found else ""


def _stat(pid: int) -> list[bytes]:
    """The fields of ``/proc/PID/stat`` from the third on; none for a process that is gone."""
    return _read(pid, "stat").rpartition(b")")[2].split()


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _group(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[2]) if fields else 0


def _ticks(pid: int) -> int | None:
    """When it began, in clock ticks since the machine did; None where it is gone or unknown."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _namespace(pid: int) -> str:
    """The namespace in which its number is one: the numbers of a container are others."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115
    except OSError:
        return ""


def _is_dead(pid: int) -> bool:
    return _stat(pid)[:1] in ([], [b"Z"])


def _is_keeper(pid: int) -> bool:
    return b"\0-I\0-S\0" in _read(pid, "cmdline") and b"keeper.py\0" in _read(pid, "cmdline")


def _command(pid: int) -> str:
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


if __name__ == "__main__":
    main(sys.argv[1])
