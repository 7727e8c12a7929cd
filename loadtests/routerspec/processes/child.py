"""Child processes that never outlive us: not after an exception, a signal or our own ``kill -9``.

Each has a process group of its own, a mark in its environment and its output in a log. Stopping one
stops its group and whatever has its mark. What we cannot do any more, the keeper does.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Final

from routerspec.markup.plain import clean
from routerspec.processes import keeper
from routerspec.processes.started import Files, Spawned, Start
from routerspec.scrub import SECRETS

GRACE_S: Final = 3.0
"""How long a child may take to end after SIGTERM."""

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
_KEEPER_ENDS_WITHIN_S: Final = 5.0
_WAIT_S: Final = 0.02
_TAIL_BYTES: Final = 64 * 1024
_TERMINAL: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
"""Colours and cursor movements; titles and clipboards."""

_living: set[Child] = set()
_numbers: Final = itertools.count(1)
_hurry: Final = threading.Event()
"""A second signal has come: nothing is waited for any more."""


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
        stdin: int | None = None,
        stdin_pipe: bool = False,
        stdout_pipe: bool = False,
        start: Start = Spawned,
        is_parent: bool = False,
    ) -> None:
        """Start ``command``, its stdout and stderr appended to ``log``.

        ``stdin`` is a descriptor for its standard input. ``stdin_pipe`` gives it a pipe that
        reaches its end when we die, however we die; without either its stdin is empty.
        ``stdout_pipe`` keeps its stdout for ``lines``. ``is_parent``: others are its children, so
        it is stopped after them. Raises OSError when it cannot be started.
        """
        _leave_nothing()
        keeping = _keeper()
        self.log = log
        self.mark = keeping.mark()
        """In its environment, and in that of all that it starts."""
        self.is_parent = is_parent
        self._status: int | None = None
        self._told_to_stop = False
        self._read = False
        self._stdin: io.FileIO | None = None
        self._stdout: io.BufferedReader | None = None
        self._reaping = threading.RLock()
        """Held wherever its number is used: once it is reaped, the number may be a stranger's."""
        with log.open("ab") as output, open(os.devnull, "rb") as nothing:  # noqa: PTH123
            its_stdin = nothing.fileno() if stdin is None else stdin
            its_stdout = output.fileno()
            if stdin_pipe:
                its_stdin, ours = os.pipe()
                self._stdin = open(ours, "wb", buffering=0)  # noqa: PTH123, SIM115
            if stdout_pipe:
                ours, its_stdout = os.pipe()
                self._stdout = open(ours, "rb")  # noqa: PTH123, SIM115
            try:
                self._process = start(
                    command,
                    env={**env, keeper.MARK: self.mark},
                    cwd=cwd,
                    files=Files(stdin=its_stdin, stdout=its_stdout, stderr=output.fileno()),
                )
            except BaseException:
                self._close_pipes()
                raise
            finally:
                if stdin_pipe:
                    os.close(its_stdin)
                if stdout_pipe:
                    os.close(its_stdout)
        _living.add(self)
        keeping.began(self.pid, log)

    @property
    def pid(self) -> int:
        """The process id, which is also that of its group."""
        return self._process.pid

    def exited(self) -> int | None:
        """Exit status of a child that ended by itself (-N: signal N); None otherwise."""
        return None if self._told_to_stop else self.ended()

    def give(self, line: str) -> None:
        """Write a line to its stdin, where no other process sees it. Only with ``stdin_pipe``."""
        assert self._stdin is not None
        unwritten = memoryview(f"{line}\n".encode())
        with contextlib.suppress(BrokenPipeError):  # it has ended: whoever waits for it sees that
            while unwritten:
                unwritten = unwritten[self._stdin.write(unwritten) or 0 :]

    def lines(self) -> Iterator[str]:
        """The lines of its stdout, to the end. Only with ``stdout_pipe``."""
        assert self._stdout is not None
        self._read = True
        with self._stdout as stdout:
            for line in stdout:
                yield line.decode(errors="replace").rstrip("\n")

    def wait(self, timeout_s: float) -> int | None:
        """Wait for it to exit by itself; its status, or None when it did not in time."""
        self._await_exit(timeout_s)
        return self.ended()

    def stop(self, grace_s: float = GRACE_S) -> int:
        """Stop the whole group: SIGTERM, ``grace_s`` later SIGKILL. Returns the exit status.

        What has left the group is killed after it. The leader is reaped last: until then its
        group's number cannot become anybody else's, so that no signal of ours can reach a stranger.
        """
        if self.ended() is None:
            self.terminate()
            self._await_exit(grace_s)
        with self._reaping:
            return self._reaped()

    def terminate(self) -> None:
        """Send SIGTERM to the whole group, and wait for nothing."""
        if self.ended() is None:
            self._told_to_stop = True
            self.signal_group(signal.SIGTERM)
            self.signal_group(signal.SIGCONT)  # One that is paused ends only so.

    def signal(self, number: int) -> None:
        """Send a signal to the process alone: what it has started is its own business."""
        with self._reaping:
            if self.ended() is None:
                os.kill(self.pid, number)

    def signal_group(self, number: int) -> None:
        """Send a signal to its whole group."""
        with self._reaping:
            if self._process.returncode is None:
                self._process.signal_group(number)

    def ended(self) -> int | None:
        """Exit status, whoever ended it; None while it runs. Does not reap it."""
        with self._reaping:
            if self._process.returncode is not None:
                return self._process.returncode
            if self._status is None:
                self._status = self._process.status()
            return self._status

    def _await_exit(self, within_s: float) -> None:
        """In short waits: another thread may reap it, and a second signal hurries us."""
        give_up = time.monotonic() + within_s
        while not _hurry.is_set() and (left := give_up - time.monotonic()) > 0:
            if self.ended() is not None:
                return
            self._process.await_exit(min(left, _WAIT_S))

    def _reaped(self) -> int:
        if self._process.returncode is not None:
            return self._process.returncode
        self.signal_group(signal.SIGKILL)
        keeper.kill_marked(self.mark)
        _keeper().ended(self.pid)
        keeper.trim(str(self.log))
        self._close_pipes()
        status = self._process.reap()
        _living.discard(self)
        if not _living:
            _calm_down()
        return status

    def _close_pipes(self) -> None:
        if self._stdin is not None:
            with contextlib.suppress(OSError):
                self._stdin.close()
        if self._stdout is not None and not self._read:
            self._stdout.close()


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

    Without secrets and a terminal's colours, and harmless wherever they are printed.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"(the log cannot be read: {error.strerror})"
    text = "\n".join(_plain(line) for line in text.splitlines()[-count:])
    return clean(SECRETS.hide(text)) or "(no output)"


def printable(text: str) -> str:
    """A text of somebody else's on one line, without control characters or terminal sequences."""
    return clean(_plain(" ".join(text.splitlines())))


def _plain(line: str) -> str:
    return _TERMINAL.sub("", line).expandtabs()


def tail(log: Path) -> str:
    """The end of a log, for the end of a message."""
    return f"The end of {log}:\n{last_lines(log)}"


def words(error: Exception) -> str:
    """The message of an error, for the middle of a sentence."""
    said = getattr(error, "strerror", None) or str(error)
    return said.lower() if said else type(error).__name__


def stop_all() -> None:
    """Stop every child that is still running, newest first, within one ``GRACE_S`` for all.

    Those with children go last: they say what became of these.
    """
    children = sorted(_living, key=lambda child: (child.is_parent, -child.pid))
    for child in children:
        if not child.is_parent:
            child.terminate()
    give_up = time.monotonic() + GRACE_S
    for child in children:
        child.stop(max(0.0, give_up - time.monotonic()))


def marked_environment(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` for a process that we start by other means, so that it ends with us as well."""
    return {**env, keeper.MARK: _keeper().mark()}


class _Keeper:
    """Our side of the keeper's pipe."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._mark = keeper.owner_mark(self.owner)
        env = {name: text for name, text in os.environ.items() if name != keeper.MARK}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, self._mark],
            env=env,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # A Ctrl-C in the terminal is for us.
        )

    def mark(self) -> str:
        """A mark for one more process of ours."""
        return f"{self._mark}{next(_numbers)}."

    def began(self, group: int, log: Path) -> None:
        """Keep this group and its log."""
        self._say(f"+{group} {os.fsencode(log.absolute()).hex()}")

    def ended(self, group: int) -> None:
        """Forget a group; called before its leader is reaped, and the number somebody else's."""
        self._say(f"-{group}")

    def is_alive(self) -> bool:
        """Whether it is there, and ours: not that of a process which we were forked from."""
        return self.owner == os.getpid() and self._process.poll() is None

    def close_pipe(self) -> None:
        """Close our end of the pipe of one that was killed, or is that of our parent."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def close(self) -> None:
        """Everything was stopped; wait for it to see that it is so."""
        if self.owner != os.getpid():
            return
        self._say(keeper.DONE.decode())
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._stdin.close()
            self._process.wait(_KEEPER_ENDS_WITHIN_S)

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # It was killed; the next child has another.
            os.write(self._stdin.fileno(), f"{line}\n".encode())

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin


_starting_keeper: Final = threading.Lock()
_kept_by: list[_Keeper] = []
"""The keeper, where one was needed; after a fork or its death there is another."""


def _keeper() -> _Keeper:
    with _starting_keeper:
        if not _kept_by or not _kept_by[-1].is_alive():
            while _kept_by:
                _kept_by.pop().close_pipe()
            _kept_by.append(_Keeper())
            for child in list(_living):
                _kept_by[-1].began(child.pid, child.log)
        return _kept_by[-1]


def _leave_nothing() -> None:
    """Make sure, once, that the children go when we go.

    SIGTERM and SIGHUP would end us without a word; as SystemExit they run every ``finally``.
    Where somebody else has taken them, they are his.
    """
    atexit.unregister(_stop_at_exit)
    atexit.register(_stop_at_exit)
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _stop_at_exit() -> None:
    # From here on no signal raises: it would leave the clean-up. In the end none is taken: while
    # Python ends it puts a handler of ours back to the default, which would replace the exit status
    # that an earlier signal has set.
    _take_signals(_hurry_up)
    stop_all()
    if _kept_by:
        _kept_by[-1].close()
    _take_signals(signal.SIG_IGN)


def _take_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in _ENDING:
        if signal.getsignal(number) in {_end, _hurry_up}:
            signal.signal(number, handler)


def _hurry_up(_number: int, _frame: FrameType | None) -> None:
    _hurry.set()


_signals = 0


def is_first_signal() -> bool:
    """Whether a signal that ends us is the first, so that its handler raises.

    From the second on, while children are being stopped, nothing is raised, which would leave them:
    they are killed at once.
    """
    global _signals  # noqa: PLW0603 - signals are the process's
    _signals += 1
    if _signals > 1 and _living:
        _hurry.set()
        return False
    return True


def _calm_down() -> None:
    """All are stopped: the next signal is a first one again."""
    global _signals  # noqa: PLW0603
    _signals = 0
    _hurry.clear()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """In this block a second Ctrl-C hurries the clean-up in place of leaving it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if is_first_signal():
        raise KeyboardInterrupt


def _end(number: int, _frame: FrameType | None) -> None:
    """Exit with a shell's status: 128 + signal."""
    if is_first_signal():
        raise SystemExit(128 + number)
