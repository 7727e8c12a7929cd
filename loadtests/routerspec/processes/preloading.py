"""The preloaded processes of one command, one for each program of ours, and what starts from them.

In a ``preloading`` block ``start_of`` forks; outside of it, and wherever a fork is refused or
unsound, it starts by exec as ever. The router under test is never forked.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from socket import AF_UNIX, SOCK_SEQPACKET, socketpair
from typing import Final

from routerspec.processes import own_code
from routerspec.processes.child import Child
from routerspec.processes.started import Files, Refused, Spawned, Start, Started, fork_from

SWITCH: Final = "ROUTERSPEC_FORK"
"""Set to 0 in the environment, it has every process started by exec."""
_IMPORTS: Final = {
    "locust": ("routerspec.scenarios.locust.preload",),
    "fake_providers": ("fake_providers.server",),
}
"""Our programs and what each imports. A process each: the fakes must not have gevent's patches."""

_parents: Final[dict[str, Preloaded]] = {}


@contextlib.contextmanager
def preloading(programs: Mapping[str, int]) -> Iterator[None]:
    """Preload these programs of ours, program -> expected starts, for starts in this block.

    It returns at once: the imports go on while this process does its own. One start is cheaper
    without. Blocks may be nested: what the outer one has is used in the inner.
    """
    ours = []
    if is_sound():
        for program, starts in programs.items():
            if starts > 1 and program not in _parents:
                with contextlib.suppress(OSError):
                    _parents[program] = Preloaded(_IMPORTS[program])
                    ours.append(program)
    try:
        yield
    finally:
        for program in ours:
            _parents.pop(program).stop()


def is_sound() -> bool:
    """Whether processes are forked here at all: not where system libraries start threads (macOS),
    and not where a child could not be found by its mark.
    """
    return sys.platform == "linux" and hasattr(os, "pidfd_open") and os.environ.get(SWITCH) != "0"


def start_of(program: str) -> Start:
    """How to start a program of ours, the module that ``python -m`` is given."""
    parent = _parents.get(program)
    return parent.start if parent is not None and is_sound() else Spawned


class Preloaded:
    """One preloaded process."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Start it; it imports these meanwhile."""
        self._owner = os.getpid()
        self._requests, its_end = socketpair(AF_UNIX, SOCK_SEQPACKET)
        with its_end:
            self.child = Child(
                own_code.own_python("-m", "routerspec.processes.preloaded", *modules),
                env=own_program_environment(),
                log=Path(os.devnull),  # What cannot be imported fails in each child, which says so.
                stdin=its_end.fileno(),
                is_parent=True,
            )

    def start(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None, files: Files
    ) -> Started:
        """Fork, or else start by exec."""
        if self._owner == os.getpid():
            with contextlib.suppress(Refused):
                return fork_from(
                    self._requests, self.child.mark, command, env=env, cwd=cwd, files=files
                )
        return Spawned(command, env=env, cwd=cwd, files=files)

    def stop(self) -> None:
        """Stop it, after its children."""
        self._requests.close()
        self.child.stop()


def own_program_environment() -> dict[str, str]:
    """Environment of our programs, without the variables that would be Locust's options."""
    own = own_code.own_environment()
    return {name: text for name, text in own.items() if not name.startswith("LOCUST_")}
