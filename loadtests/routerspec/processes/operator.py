"""The operator of one router: drains it, reloads it and disturbs it, when the load asks for it.

Decides how that is done: the promised signal to the router's own process, or its files written anew
and then the signal or the command. Of several replicas the first is drained and reloaded. Refuses
to know why, and whether the router does as promised.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from routerspec.errors import RouterspecError
from routerspec.processes import own_code
from routerspec.processes.child import Child, last_lines, words
from routerspec.processes.disturbances import DISTURBANCES, disturb
from routerspec.processes.replicas import Cluster
from routerspec.processes.router import placeholder_values, write_files
from routerspec.records.router_process import Ask, Reply
from routerspec.scrub import SECRETS
from routerspec.targets import fill

_COMMAND_WITHIN_S: Final = 20.0
_WATCHED_FOR_S: Final = 1.0


@dataclass(slots=True, kw_only=True)
class Operator:
    """Acts on one start's router."""

    cluster: Cluster
    draining: bool = False
    """It was sent the signal to drain: from then on it exits as promised."""
    _exited_ns: int | None = None

    def reply_to(self, ask: Ask) -> Reply:
        """Do what is asked, and tell what came of it."""
        child = self.cluster.first.child
        if child is None:
            return self._reply(fault="The router is not ours: it cannot be signalled.")
        if ask.what == "drain":
            return self._drain(child)
        if ask.what == "reload":
            return self._reload(child, ask.cap)
        return self._disturb(ask) if ask.what in DISTURBANCES else self._reply()

    def _disturb(self, ask: Ask) -> Reply:
        before_ns = time.monotonic_ns()
        try:
            disturb(self.cluster, ask)
        except RouterspecError as error:
            return self._reply(fault=str(error))
        return self._reply(before_ns=before_ns)

    def _drain(self, child: Child) -> Reply:
        promise = self.cluster.target.promises.drain
        if promise is None:
            return self._reply(fault="No drain is promised.")
        self.draining = True
        threading.Thread(target=self._watch, args=(child,), daemon=True).start()
        return self._signal(child, promise.signal)

    def _watch(self, child: Child) -> None:
        while child.wait(_WATCHED_FOR_S) is None:
            pass
        self._exited_ns = time.monotonic_ns()

    def _reload(self, child: Child, cap: int | None) -> Reply:
        cluster, target = self.cluster, self.cluster.target
        promise, start = target.promises.reload, target.start
        if promise is None or start is None:
            return self._reply(fault="No reload is promised.")
        # A command may make the router's own files from those.
        texts = (*start.files.values(), *promise.command)
        has_cap = any(fill(text, {"cap": ""}) != text for text in texts)
        was = cluster.settings
        settings = msgspec.structs.replace(was, cap=cap) if has_cap else was
        own = cluster.folder / "router"
        values = placeholder_values(settings, cluster.fakes, cluster.first.port, own, cluster.keys)
        values |= cluster.service_ports(1)
        try:
            write_files(start.files, values, own)
        except OSError as error:
            return self._reply(fault=f"The router's files cannot be written: {words(error)}.")
        if promise.signal is not None:
            reply = self._signal(child, promise.signal)
        else:
            reply = self._run(promise.command, values | {"pid": str(child.pid)}, start.env)
        return msgspec.structs.replace(reply, cap=cap if has_cap else None)

    def _run(
        self, command: tuple[str, ...], values: Mapping[str, str], env: Mapping[str, str]
    ) -> Reply:
        """Run the command that reloads the router, to its end."""
        line, its_env = own_code.resolve([SECRETS.fill(fill(word, values)) for word in command])
        its_env |= {name: SECRETS.fill(fill(text, values)) for name, text in env.items()}
        log = self.cluster.folder / "reload.log"
        before_ns = time.monotonic_ns()
        try:
            child = Child(line, env={**its_env, **(self.cluster.extra_env or {})}, log=log)
        except OSError as error:
            return self._reply(fault=f"{command[0]} cannot be started: {words(error)}.")
        try:
            status = child.wait(_COMMAND_WITHIN_S)
        finally:
            child.stop()
        if status:
            told = last_lines(log, 3)
            return self._reply(fault=f"{command[0]} exited with status {status}: {told}")
        return self._reply(before_ns=before_ns, command_status=status)

    def _signal(self, child: Child, name: str) -> Reply:
        before_ns = time.monotonic_ns()
        child.signal(signal.Signals[f"SIG{name}"])
        return self._reply(before_ns=before_ns, signal=name)

    def _reply(
        self,
        *,
        before_ns: int | None = None,
        signal: str = "",
        command_status: int | None = None,
        fault: str = "",
    ) -> Reply:
        child = self.cluster.first.child
        status = child.ended() if child else None
        now_ns = time.monotonic_ns()
        if status is not None and self._exited_ns is None:
            self._exited_ns = now_ns
        return Reply(
            pid=child.pid if child else 0,
            before_ns=now_ns if before_ns is None else before_ns,
            after_ns=now_ns,
            signal=signal,
            command_status=command_status,
            exited_ns=None if status is None else self._exited_ns,
            exit_status=status,
            fault=fault,
        )
