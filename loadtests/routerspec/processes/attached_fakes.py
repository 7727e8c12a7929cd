"""Fakes that are already running and stay up, behind a router that was given their URLs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from routerspec.errors import HarnessError, UsageError
from routerspec.processes.handles import Fakes
from routerspec.processes.own_code import CONTROL_VARIABLE

if TYPE_CHECKING:
    from routerspec.processes.control import Control

_IDLE_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.05


@contextmanager
def borrow(control_url: str, folder: Path, *, anthropic: bool = False) -> Iterator[Fakes]:
    """Use the fakes at ``control_url``; at the end their ledger is in ``folder/evidence.jsonl``.

    ``anthropic``: the Anthropic fake is needed too.

    Their token is read from the environment. Their rules are reset before and after. Raises
    HarnessError when they do not answer or keep no ledger, UsageError when they are those of
    another run, or do not serve what is needed.
    """
    from routerspec.processes.control import Control  # noqa: PLC0415 - imports httpx

    token = os.environ.get(CONTROL_VARIABLE, "")
    with Control(control_url, token=token) as control:
        health = control.health()
        if health.run:
            raise UsageError(
                f"The fakes at {control_url} belong to run {health.run}: start others without "
                "--run, and with --ledger FILE."
            )
        if anthropic and health.anthropic is None:
            raise UsageError(
                f"The fakes at {control_url} serve no Anthropic, to which a route of the target "
                "leads: start them with --anthropic-port 8003."
            )
        control.reset()
        _copy_ledger(control, folder / "evidence.jsonl")  # Better refused now than at the end.
        yield Fakes(
            child=None,
            log=folder / "fakes.log",
            openai_url=health.openai or "",
            ollama_url=health.ollama or "",
            anthropic_url=health.anthropic,
            control_url=control_url,
            control_token=token,
            ledger=folder / "evidence.jsonl",
        )
        control.reset()
        _copy_ledger(control, folder / "evidence.jsonl")


def _copy_ledger(control: Control, path: Path) -> None:
    """A copy can be closed only while nothing is open, which ends now that nothing is held."""
    give_up = time.monotonic() + _IDLE_WITHIN_S
    while (open_ := control.now().unfinished) and time.monotonic() < give_up:
        time.sleep(_POLL_S)
    if open_:
        raise HarnessError(
            f"{open_} calls stay open at the fakes at {control.url}, so that their ledger cannot "
            "be closed: stop every client of the router first."
        )
    path.write_bytes(control.closed_ledger())
