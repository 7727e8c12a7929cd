"""A started process by its number, whether this process started it or another forked it for us.

``Spawned`` is a child of this process, by exec. ``Forked`` is a child of a ``preloaded`` process.
Both keep their number until ``reap``, so that no signal can reach a stranger.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX, MSG_DONTWAIT, SOCK_SEQPACKET, send_fds, socketpair
from socket import socket as Socket  # noqa: N812
from typing import Final, Protocol

from routerspec.processes import keeper

_POLL_S: Final = 0.02
_FORKED_WITHIN_S: Final = 20.0
"""The imports included."""
_LONGEST_ANSWER: Final = 4096
_LOST: Final = -signal.SIGKILL
"""The status of a process whose parent was killed: nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Open descriptors for standard input, output and error; they stay the caller's to close."""

    stdin: int
    stdout: int
    stderr: int


class Started(Protocol):
    """A process that leads a process group of its own."""

    pid: int
    returncode: int | None
    """Its status (-N: signal N) once it is reaped."""

    def status(self) -> int | None:
        """Its status, None while it runs. Does not reap it. Not after ``reap``."""

    def await_exit(self, within_s: float) -> None:
        """Wait until it has exited, that long at most; perhaps shorter. Also during ``reap``."""

    def signal_group(self, number: int) -> None:
        """Send a signal to its group. Not after ``reap``."""

    def reap(self) -> int:
        """Wait until it has exited; its status. Its number is free from now on."""


class Start(Protocol):
    """How a process is started. Raises OSError when it cannot be."""

    def __call__(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None, files: Files
    ) -> Started:
        """Start ``command`` with exactly this environment."""


class Spawned:
    """A child of this process."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None, files: Files
    ) -> None:
        self._process = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=files.stdin,
            stdout=files.stdout,
            stderr=files.stderr,
            process_group=0,
        )
        self.pid = self._process.pid
        self.returncode: int | None = None
        self._end = _process_descriptor(self.pid)

    def status(self) -> int | None:
        """As ``Started`` has it."""
        exited = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if exited is None:
            return None
        by_itself = exited.si_code == os.CLD_EXITED
        return exited.si_status if by_itself else -exited.si_status

    def await_exit(self, within_s: float) -> None:
        """As ``Started`` has it."""
        if self._end is None:
            time.sleep(min(_POLL_S, within_s))
        else:
            _await_readable(self._end, within_s)

    def signal_group(self, number: int) -> None:
        """As ``Started`` has it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def reap(self) -> int:
        """As ``Started`` has it."""
        self.returncode = self._process.wait()
        end, self._end = self._end, None
        if end is not None:
            os.close(end)
        return self.returncode


class Forked:
    """A child of a preloaded process, which says over ``channel`` when it has exited."""

    def __init__(self, pid: int, channel: Socket, parents_mark: str) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._channel = channel
        self._parents_mark = parents_mark
        self._status: int | None = None
        self._lost = False

    def status(self) -> int | None:
        """As ``Started`` has it."""
        if self._status is None:
            try:
                answer = self._channel.recv(_LONGEST_ANSWER, MSG_DONTWAIT).split()
            except BlockingIOError:
                return None
            except OSError:
                answer = []
            self._lost = not answer
            self._status = _LOST if self._lost else int(answer[1])
        return self._status

    def await_exit(self, within_s: float) -> None:
        """As ``Started`` has it."""
        if self._status is None and (file := self._channel.fileno()) >= 0:
            _await_readable(file, within_s)

    def signal_group(self, number: int) -> None:
        """As ``Started`` has it."""
        if self.status() is not None and self._lost:
            # It is anybody's child now, and its number perhaps another's: its mark is not.
            keeper.kill_marked(self._parents_mark)
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def reap(self) -> int:
        """As ``Started`` has it."""
        while (status := self.status()) is None:
            self.await_exit(1.0)
        self._channel.close()
        self.returncode = status
        return status


def _process_descriptor(pid: int) -> int | None:
    """Readable once the process has exited; None where the system has none."""
    with contextlib.suppress(AttributeError, OSError):
        return os.pidfd_open(pid)
    return None


def _await_readable(file: int, within_s: float) -> None:
    readable = select.poll()
    readable.register(file, select.POLLIN)
    readable.poll(within_s * 1000)


class Refused(Exception):  # noqa: N818 - it names the state
    """The preloaded process forks nothing; the message says why."""


def fork_from(
    requests: Socket,
    parents_mark: str,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None,
    files: Files,
) -> Forked:
    """Have the preloaded process behind ``requests`` fork ``python -P -m MODULE ARGUMENT...``.

    ``parents_mark``: the mark of that process. Raises Refused.
    """
    python, *options, module = command[:4]
    assert [python, *options] == [sys.executable, "-P", "-m"], command
    request = {
        "module": module,
        "arguments": list(command[4:]),
        "env": dict(env),
        "cwd": None if cwd is None else str(cwd),
    }
    channel, its_end = socketpair(AF_UNIX, SOCK_SEQPACKET)
    try:
        with its_end:
            given = [its_end.fileno(), files.stdin, files.stdout, files.stderr]
            send_fds(requests, [json.dumps(request).encode()], given)
        channel.settimeout(_FORKED_WITHIN_S)
        answer, _, rest = channel.recv(_LONGEST_ANSWER).decode().partition(" ")
    except OSError as error:  # It has exited, takes too long, or the request is too long.
        channel.close()
        raise Refused(str(error)) from None
    except BaseException:
        channel.close()
        raise
    if answer != "pid":
        channel.close()
        raise Refused(rest or "it has exited")
    channel.settimeout(None)
    return Forked(int(rest), channel, parents_mark)
