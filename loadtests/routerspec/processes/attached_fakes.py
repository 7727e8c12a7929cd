"""Fakes that are already running and stay up, behind a router that was given their URLs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from routerspec.errors import HarnessError, UsageError
from routerspec.processes.handles import Fakes, FurtherInstance
from routerspec.processes.own_code import CONTROL_VARIABLE
from routerspec.processes.ports import NO_INSTANCES
from routerspec.records.providers import further
from routerspec.records.run import evidence_file

if TYPE_CHECKING:
    from routerspec.processes.control import Control

_IDLE_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.05


@contextmanager
def borrow(
    control_urls: str,
    folder: Path,
    *,
    anthropic: bool = False,
    instances: Mapping[str, int] = NO_INSTANCES,
) -> Iterator[Fakes]:
    """Use the fakes at these control URLs; at the end their ledgers are files of ``folder``.

    ``control_urls``: that of the first process, then, separated by commas, those of its providers'
    further instances, which are the ones that ``instances`` (provider -> number) asks for.
    ``anthropic``: the Anthropic fake is needed too.

    Their token is read from the environment. Their rules are reset before and after. Raises
    HarnessError when they do not answer or keep no ledger, UsageError when they are those of
    another run, or do not serve what is needed.
    """
    from routerspec.processes.control_group import served_by  # noqa: PLC0415 - imports httpx

    token = os.environ.get(CONTROL_VARIABLE, "")
    with contextlib.ExitStack() as stack:
        first, *others = [
            stack.enter_context(_borrow_one(url, token)) for url in control_urls.split(",")
        ]
        health = first.health()
        if anthropic and health.anthropic is None:
            raise UsageError(
                f"The fakes at {first.url} serve no Anthropic, to which a route of the target "
                "leads: start them with --anthropic-port 8003."
            )
        named = {served_by(each.health(), each.url): each for each in others}
        _check_instances(named, instances, control_urls)
        copies = {"": first} | {name: each for (name, _), each in named.items()}
        for name, each in copies.items():  # Better refused now than at the end.
            _copy_ledger(each, folder / evidence_file(name))
        yield Fakes(
            child=None,
            log=folder / "fakes.log",
            openai_url=health.openai or "",
            ollama_url=health.ollama or "",
            anthropic_url=health.anthropic,
            control_url=first.url,
            control_token=token,
            ledger=folder / evidence_file(),
            further=tuple(
                FurtherInstance(
                    child=None,
                    log=folder / f"fakes-{name}.log",
                    name=name,
                    url=url,
                    control_url=each.url,
                    ledger=folder / evidence_file(name),
                )
                for (name, url), each in named.items()
            ),
        )
        for each in copies.values():
            each.reset()
        for name, each in copies.items():
            _copy_ledger(each, folder / evidence_file(name))


@contextmanager
def _borrow_one(url: str, token: str) -> Iterator[Control]:
    """One process of fakes, reset. Raises UsageError for those of another run."""
    from routerspec.processes.control import Control  # noqa: PLC0415 - imports httpx

    with Control(url, token=token) as control:
        if run := control.health().run:
            raise UsageError(
                f"The fakes at {url} belong to run {run}: start others without "
                "--run, and with --ledger FILE."
            )
        control.reset()
        yield control


def _check_instances(
    named: Mapping[tuple[str, str], Control], instances: Mapping[str, int], control_urls: str
) -> None:
    there, wanted = sorted(name for name, _ in named), sorted(further(instances))
    if there != wanted:
        raise UsageError(
            f"Beside the first the fakes at {control_urls} are {', '.join(there) or 'none'}; the "
            f"target has {', '.join(wanted) or 'one instance of each provider'}: give the control "
            "URLs of all of them, separated by commas."
        )


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
