"""What a router needs beside its providers, such as a store that its replicas share, and relays.

Decides how a service is started, on which port, and when it is ready. Refuses to know what it does.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from routerspec.errors import HarnessError, TargetNotReady
from routerspec.processes import own_code
from routerspec.processes.child import Child, words
from routerspec.processes.handles import Running
from routerspec.processes.ports import free_port
from routerspec.processes.readiness import PortTaken
from routerspec.processes.router import start_server
from routerspec.targets import Service

_TRIES: Final = 3


@dataclass(frozen=True, kw_only=True)
class RunningService(Running):
    """A service that runs, or did; it is started again with ``again``."""

    service: Service
    folder: Path
    """Of the start."""
    values: Mapping[str, str]
    """Placeholder -> value."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.values[f"{self.service.name}_port"])

    def again(self, *, empty: bool) -> RunningService:
        """Start it once more at the same port; ``empty``: without the files that it has written.

        Raises TargetNotReady.
        """
        if empty:
            shutil.rmtree(_own(self.folder, self.service), ignore_errors=True)
        try:
            return _start(self.service, self.values, self.folder)
        except PortTaken as fault:
            raise TargetNotReady(str(fault)) from None


def start_services(
    services: Sequence[Service], values: Mapping[str, str], folder: Path, stack: ExitStack
) -> dict[str, RunningService]:
    """Start these in their order, each ready before the next; leaving ``stack`` stops them.

    ``values``: those of the placeholders that all of them have. The port of each is added for those
    after it. Their files go to ``folder/service-NAME/``, their words to ``service-NAME.log`` there.
    Raises TargetNotReady.
    """
    started: dict[str, RunningService] = {}
    for service in services:
        values = {**values, "dir": str(_own(folder, service).resolve())}
        running = _start_somewhere(service, values, folder)
        stack.callback(running.stop)
        started[service.name] = running
        values = running.values
    return started


def start_relay(folder: Path, name: str, port: int) -> tuple[Child, int]:
    """Start a relay to this port of this machine, and the port at which it listens.

    Its words go to ``folder/NAME.log``. Raises HarnessError.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        command = own_code.own_python("-m", "routerspec.processes.relay", str(port))
        try:
            child = Child(
                command,
                env=own_code.own_environment(),
                log=folder / f"{name}.log",
                stdin=listener.fileno(),
            )
        except OSError as error:
            raise HarnessError(f"A relay cannot be started: {words(error)}.") from error
        return child, int(listener.getsockname()[1])


def _start_somewhere(service: Service, values: Mapping[str, str], folder: Path) -> RunningService:
    for tries_left in reversed(range(_TRIES)):
        try:
            return _start(service, {**values, f"{service.name}_port": str(free_port())}, folder)
        except PortTaken as fault:
            if not tries_left:
                raise TargetNotReady(str(fault)) from None
    raise AssertionError


def _start(service: Service, values: Mapping[str, str], folder: Path) -> RunningService:
    """Raises PortTaken, TargetNotReady."""
    own, log = _own(folder, service), folder / f"service-{service.name}.log"
    own.mkdir(exist_ok=True)
    child = start_server(
        service, values, own, log,
        name=f"The service {service.name}",
        url=f"http://127.0.0.1:{values[f'{service.name}_port']}",
        install=service.install,
    )  # fmt: skip
    return RunningService(child=child, log=log, service=service, folder=folder, values=values)


def _own(folder: Path, service: Service) -> Path:
    return folder / f"service-{service.name}"
