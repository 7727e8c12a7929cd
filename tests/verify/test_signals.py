"""SIGTERM and SIGHUP during a run."""

from __future__ import annotations

import os
import signal
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from routerspec.verify import verify
from tests.support.signals import default_signals, ignored_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_a_run_once(number: signal.Signals) -> None:
    run: Any = SimpleNamespace(cancelled=threading.Event())
    with default_signals():
        before = signal.getsignal(number)
        with (
            pytest.raises(KeyboardInterrupt),
            verify._stopped_by_signals(run),
        ):
            os.kill(os.getpid(), number)
        assert run.cancelled.is_set()
        assert signal.getsignal(number) is before


def test_under_nohup_a_run_goes_on_when_its_terminal_is_closed() -> None:
    run: Any = SimpleNamespace(cancelled=threading.Event())
    with ignored_signals(), verify._stopped_by_signals(run):
        os.kill(os.getpid(), signal.SIGHUP)
    assert not run.cancelled.is_set()
