"""Child processes that never outlive us: not after an exception, Ctrl-C or SIGTERM.

Each has a process group of its own and its output in a log.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from routerspec.markup.plain import clean
from routerspec.scrub import SECRETS

GRACE_S: Final = 3.0
"""How long a child may take to end after SIGTERM."""

_POLL_S: Final = 0.02
_TAIL_BYTES: Final = 64 * 1024

_living: set[Child] = set()


class Child:
    """One started process with its process group. Ended by ``stop``; safe to stop twice, and from
    several threads at once: an interrupt ends all while whoever started them leaves too.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path | None = None,
        stdin_pipe: bool = False,
        stdout_pipe: bool = False,
    ) -> None:
        """Start ``command``, its stdout and stderr appended to ``log``.

        ``stdin_pipe`` gives it a pipe that reaches its end when we die, however we die; otherwise
        its stdin is empty. ``stdout_pipe`` keeps its stdout for ``lines``. Raises OSError when it
        cannot be started.
        """
        _leave_nothing()
        self.log = log
        self._status: int | None = None
        self._told_to_stop = False
        self._read = False
        self._reaping = threading.RLock()
        """Held wherever its number is used: once it is reaped, the number may be a stranger's."""
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.PIPE if stdin_pipe else subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdout_pipe else output,
                stderr=output,
                process_group=0,
            )
        _living.add(self)

    @property
    def pid(self) -> int:
        """The process id, which is also that of its group."""
        return self._process.pid

    def exited(self) -> int | None:
        """Exit status of a child that ended by itself (-N: signal N); None otherwise."""
        return None if self._told_to_stop else self.ended()

    def lines(self) -> Iterator[str]:
        """The lines of its stdout, to the end. Only with ``stdout_pipe``."""
        assert self._process.stdout is not None
        self._read = True
        with self._process.stdout as stdout:
            for line in stdout:
                yield line.decode(errors="replace").rstrip("\n")

    def wait(self, timeout_s: float) -> int | None:
        """Wait for it to exit by itself; its status, or None when it did not in time."""
        deadline = time.monotonic() + timeout_s
        while self.ended() is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return self.ended()

    def stop(self, grace_s: float = GRACE_S) -> int:
        """Stop the whole group: SIGTERM, ``grace_s`` later SIGKILL. Returns the exit status.

        The leader is reaped last. Until then its group's number cannot become anybody else's, so
        that no signal of ours can reach a stranger.
        """
        if self.ended() is None:
            self._told_to_stop = True
            self._signal(signal.SIGTERM)
            self.wait(grace_s)
        with self._reaping:
            return self._reaped()

    def _reaped(self) -> int:
        if self._process.returncode is not None:
            return self._process.returncode
        self._signal(signal.SIGKILL)
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        if self._process.stdout is not None and not self._read:
            self._process.stdout.close()
        status = self._process.wait()
        _living.discard(self)
        return status

    def ended(self) -> int | None:
        """Exit status, whoever ended it; None while it runs. Does not reap it."""
        with self._reaping:
            if self._process.returncode is not None:
                return self._process.returncode
            if self._status is None:
                told = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if told is not None:
                    ended = told.si_code == os.CLD_EXITED
                    self._status = told.si_status if ended else -told.si_status
            return self._status

    def _signal(self, number: int) -> None:
        with self._reaping, contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                os.killpg(self.pid, number)


def output_of(command: Sequence[str], env: Mapping[str, str], timeout_s: float) -> str | None:
    """The output of a short command, stdout and stderr together (nginx prints its version there).

    None when it cannot be started, fails, or takes longer.
    """
    with tempfile.TemporaryDirectory(prefix="routerspec-") as folder:
        log = Path(folder, "said")
        try:
            child = Child(command, env=env, log=log)
        except OSError:
            return None
        try:
            status = child.wait(timeout_s)
        finally:
            child.stop()
        return log.read_text(errors="replace") if status == 0 else None


def last_lines(log: Path, count: int = 10) -> str:
    """The last lines of a log, or a remark in brackets where there are none.

    Without secrets, and harmless wherever they are printed.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"(the log cannot be read: {error.strerror})"
    text = clean(SECRETS.hide(text))
    return "\n".join(text.splitlines()[-count:]) or "(no output)"


def tail(log: Path) -> str:
    """The end of a log, for the end of a message."""
    return f"The end of {log}:\n{last_lines(log)}"


def words(error: Exception) -> str:
    """The message of an error, for the middle of a sentence."""
    said = getattr(error, "strerror", None) or str(error)
    return said.lower() if said else type(error).__name__


def stop_all() -> None:
    """Stop every child that is still running, newest first."""
    for child in sorted(_living, key=lambda child: -child.pid):
        child.stop()


def _leave_nothing() -> None:
    """Make sure, once, that the children go when we go.

    SIGTERM and SIGHUP would end us without a word; as SystemExit they run every ``finally``.
    Where somebody else has taken them, they are his.
    """
    atexit.unregister(stop_all)
    atexit.register(stop_all)
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    """Exit with a shell's status: 128 + signal."""
    raise SystemExit(128 + number)
