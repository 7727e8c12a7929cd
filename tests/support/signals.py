"""Signals as a child of ours finds them, wherever the tests were started."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_FROM_A_TERMINAL = (signal.SIGINT, signal.SIGHUP)


@contextmanager
def default_signals() -> Iterator[None]:
    """A child started in this block does not ignore SIGINT and SIGHUP.

    ``nohup`` and a shell's ``&`` have them ignored, which is inherited. A handler is not: exec puts
    the default in its place. So we go on ignoring both, and the child does not.
    """
    ignored = [n for n in _FROM_A_TERMINAL if signal.getsignal(n) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, _nothing)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def ignored_signals() -> Iterator[None]:
    """A child started in this block ignores SIGINT and SIGHUP, as one under ``nohup ... &``."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _FROM_A_TERMINAL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing(*_: object) -> None:
    pass
