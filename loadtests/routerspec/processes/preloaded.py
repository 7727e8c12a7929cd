"""A process with the imports of our own children done and nothing started: they are forked from it.

``python -P -m routerspec.processes.preloaded MODULE...`` imports the modules and waits at its
standard input, a socket, for requests (``forked`` sends them): a command ``-m MODULE ARGUMENT...``
with its environment, folder and standard files, and a channel for the answer. The channel says the
child's number and, once it has exited, its status; the child is reaped when the other end closes
it. The process ends when its standard input does. Linux only.

A fork copies what an exec does not:

- Threads: only the forking one goes on in the child, and a lock that another one holds stays
  locked. There must be no other: ``_Parent.started`` looks before each fork, which is refused
  otherwise; the command is then started by exec.
- gevent: a loop made here (epoll, an eventfd) would be shared with every child. There must be
  none; each child makes its own. The monkey patches are inherited, so what runs without gevent
  (the fakes) has a process of its own to be forked from, and names that gevent replaces are bound
  here before it is imported.
- asyncio, uvloop: imported, no loop made. A loop has descriptors, so the same look finds one.
- File descriptors: the imports may leave none open. A child closes those of this process.
- Signals: no handler is installed here, so that a child has Python's, and what was ignored stays
  ignored, as after an exec.
- Standard streams: nothing was read or written here; the descriptors below them are replaced.
- Random state: ``random`` seeds itself again after a fork; ``secrets`` and ``uuid4`` ask the
  kernel. numpy's would be the same in all children; it is not among the imports. So is the seed
  of ``hash``.
- Environment: ``os.environ`` is replaced. ``/proc/PID/environ`` stays that of this process: a child
  has its mark there, by which the keeper finds it, and none of its own. ``/proc/PID/cmdline`` is
  overwritten with the child's command, cut off at the length of this one's.
- Garbage: what the imports made is frozen: no collection in a child touches, and so copies, it.
- Exit functions run in a child as at any exit. Coverage was not tried: ROUTERSPEC_FORK=0 has each
  process measured from its own start.

Measured (``python -m tests.benchmarks.forks``, 2 shared cores, Python 3.11, medians of ten pairs):
to start and exit, the load takes 51 ms of processor time in place of 727, the fakes 22 in place of
149. The imports of this process take 0.6 s for the load and 0.1 s for the fakes, once a command.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from os import fork  # before gevent puts its own there, as with all of these
from select import POLLIN, poll
from socket import recv_fds
from socket import socket as Socket  # noqa: N812
from typing import Final, NoReturn

_REQUESTS: Final = 0
_LONGEST_REQUEST: Final = 1 << 20
_FILES: Final = 4
"""Of a request: the channel, and the child's standard input, output and error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """The command of one child; ``files`` are its standard ones."""

    module: str
    arguments: list[str]
    env: dict[str, str]
    cwd: str | None
    channel: int
    files: list[int]


class _Parent:
    """The children and their channels."""

    def __init__(self) -> None:
        self._requests = Socket(fileno=_REQUESTS)
        self._poll = poll()
        self._poll.register(_REQUESTS, POLLIN)
        self._running: dict[int, int] = {}
        """Channel -> child that is not reaped."""
        self._ends: dict[int, int] = {}
        """Process descriptor, readable once the child has exited -> channel."""
        self._abandoned: dict[int, int] = {}
        """Process descriptor -> child whose channel was closed while it ran."""
        self._first_open = _open_files()

    def serve(self) -> _Request | None:
        """Fork children until the requests end. In a child alone it returns what to run."""
        while True:
            file = self._poll.poll()[0][0]
            if file == _REQUESTS:
                message, files, _, _ = recv_fds(self._requests, _LONGEST_REQUEST, _FILES)
                if not message:
                    return None
                channel, *standard = files
                request = _Request(**json.loads(message), channel=channel, files=standard)
                if self._is_child(request):
                    return request
            elif file in self._ends:
                self._report(file)
            elif file in self._abandoned:
                self._forget(file)
                os.waitid(os.P_PID, self._abandoned.pop(file), os.WEXITED)
            else:
                self._reap(file)

    def started(self, expected: Sequence[int] = ()) -> str:
        """What runs or is open in this process so that a fork of it is unsound; mostly empty."""
        threads = max(threading.active_count(), len(os.listdir("/proc/self/task")))  # noqa: PTH208
        if threads > 1:
            return f"{threads} threads"
        hub = sys.modules.get("gevent._hub_local")
        if hub is not None and hub.get_hub_if_exists() is not None:
            return "the hub of gevent"
        known = {*self._first_open, *self._running, *self._ends, *self._abandoned, *expected}
        return ", ".join(f"descriptor {file}" for file in _open_files() - known)

    def _is_child(self, request: _Request) -> bool:
        """Fork; whether this is the child."""
        reason = self.started((request.channel, *request.files))
        if not reason and not _is_closed(request.channel):
            try:
                pid = fork()
            except OSError as error:
                reason = error.strerror or "fork"
            else:
                if not pid:
                    self._leave_to_parent(request.channel)
                    return True
                self._keep(request.channel, pid)
        for file in request.files:
            os.close(file)
        if reason:
            _say(request.channel, f"no {reason}")
        if request.channel not in self._running:
            os.close(request.channel)
        return False

    def _keep(self, channel: int, pid: int) -> None:
        with suppress(OSError):  # It has done so itself, or is gone.
            os.setpgid(pid, pid)
        self._running[channel] = pid
        self._ends[end := os.pidfd_open(pid)] = channel
        self._poll.register(channel, POLLIN)
        self._poll.register(end, POLLIN)
        if not _say(channel, f"pid {pid}"):
            os.kill(pid, signal.SIGKILL)

    def _leave_to_parent(self, channel: int) -> None:
        """Close, in a child, what is the parent's."""
        self._requests.detach()  # Its descriptor becomes the child's standard input.
        for file in (*self._running, *self._ends, *self._abandoned, channel):
            os.close(file)

    def _report(self, end: int) -> None:
        """Tell the status of a child that has exited; it is not reaped, so its number is kept."""
        channel = self._ends.pop(end)
        self._forget(end)
        exited = os.waitid(os.P_PID, self._running[channel], os.WEXITED | os.WNOWAIT)
        assert exited is not None
        by_itself = exited.si_code == os.CLD_EXITED
        _say(channel, f"status {exited.si_status if by_itself else -exited.si_status}")

    def _reap(self, channel: int) -> None:
        """Nobody waits for this child any more.

        One that runs still is asked to exit, no more: where whoever asked for it was killed, the
        keeper gives it time to close its files.
        """
        pid = self._running.pop(channel)
        self._forget(channel)
        end = next((end for end, of in self._ends.items() if of == channel), None)
        if end is None:
            os.waitid(os.P_PID, pid, os.WEXITED)
        else:
            del self._ends[end]
            self._abandoned[end] = pid
            os.kill(pid, signal.SIGTERM)

    def _forget(self, file: int) -> None:
        self._poll.unregister(file)
        os.close(file)


def _open_files() -> set[int]:
    opened = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(OSError):  # that of the listing itself
            os.fstat(int(name))
            opened.add(int(name))
    return opened


def _is_closed(channel: int) -> bool:
    """Whether the other end was closed: whoever asked has given up."""
    one = poll()
    one.register(channel, 0)
    return bool(one.poll(0))


def _say(channel: int, message: str) -> bool:
    """Whether the other end is there to read it."""
    with suppress(OSError):
        os.write(channel, message.encode())
        return True
    return False


def _run(request: _Request) -> None:
    """Be the child: what an exec of ``python -P -m MODULE ARGUMENT...`` would have made."""
    os.setpgid(0, 0)
    for number, file in enumerate(request.files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request.env)
    if request.cwd is not None:
        os.chdir(request.cwd)
    _show([sys.executable, "-P", "-m", request.module, *request.arguments])
    sys.argv[1:] = request.arguments
    runpy.run_module(request.module, run_name="__main__", alter_sys=True)


def _show(command: Sequence[str]) -> None:
    """Have ``ps`` show this command, as much of it as fits in the place of the parent's."""
    with suppress(OSError):
        with open("/proc/self/stat", "rb") as stat:  # noqa: PTH123
            fields = stat.read().rpartition(b")")[2].split()
        first, end = int(fields[45]), int(fields[46])  # of the arguments, in this memory
        text = b"\0".join(map(os.fsencode, command))[: end - first - 1]
        with open("/proc/self/mem", "r+b", buffering=0) as memory:  # noqa: PTH123
            memory.seek(first)
            memory.write(text.ljust(end - first, b"\0"))


def _exit(status: int) -> NoReturn:
    """Exit without taking the imports apart, which costs more than what a short child does."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def main(modules: Sequence[str]) -> None:
    """Import the modules, then fork children until the requests end."""
    parent = _Parent()
    for module in modules:
        import_module(module)
    gc.collect()
    gc.freeze()
    request = parent.serve()
    if request is None:
        _exit(0)
    status = 0
    try:
        _run(request)
    except SystemExit as leaving:
        if not isinstance(leaving.code, int | None):
            raise
        status = leaving.code or 0
    if threading.active_count() == 1:
        _exit(status)
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
