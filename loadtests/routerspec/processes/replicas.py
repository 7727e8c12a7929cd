"""All replicas of a router as one: with the services that they share, and the relays between them.

Decides what is started in which order, and which exits nobody asked for. A router that has no
replicas and no services is a cluster of one, and nothing is started beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from routerspec.processes.child import Child
from routerspec.processes.handles import Fakes, Router
from routerspec.processes.router import placeholder_values, start_router
from routerspec.processes.services import RunningService, start_relay, start_services
from routerspec.records.run import Settings
from routerspec.targets import Target

_NO_PORT: Final = 0


@dataclass(slots=True, kw_only=True)
class Cluster:
    """The replicas of one start. Handles change where one is started again."""

    target: Target
    settings: Settings
    fakes: Fakes
    folder: Path
    """The start's folder."""
    keys: Mapping[str, str] | None = None
    extra_env: Mapping[str, str] | None = None
    routers: list[Router] = field(default_factory=list)
    """By their numbers, from 1."""
    services: dict[str, RunningService] = field(default_factory=dict)
    relays: dict[tuple[int, str], tuple[Child, int]] = field(default_factory=dict)
    """(replica, service) -> a relay and its port. None where there is but one replica."""
    down: set[int] = field(default_factory=set)
    """Replicas that were killed on purpose."""
    gone: set[str] = field(default_factory=set)
    """Services that were killed on purpose."""

    @property
    def first(self) -> Router:
        """The only one where there are no replicas."""
        return self.routers[0]

    @property
    def further_urls(self) -> tuple[str, ...]:
        """The URLs of the replicas beyond the first."""
        return tuple(router.url for router in self.routers[1:])

    def exited(self) -> Router | None:
        """A replica that exited by itself; None: those that should run do."""
        for number, router in enumerate(self.routers, start=1):
            if number not in self.down and router.exited() is not None:
                return router
        return None

    def service_fault(self) -> str:
        """Which service or relay exited by itself, a clause; mostly empty."""
        for name, service in self.services.items():
            if name not in self.gone and (status := service.exited()) is not None:
                return f"the service {name} exited with status {status}"
        for (number, name), (relay, _) in self.relays.items():
            if (status := relay.exited()) is not None:
                return f"the relay of replica {number} to {name} exited with status {status}"
        return ""

    def service_ports(self, number: int) -> dict[str, str]:
        """Placeholder -> port at which this replica reaches each service."""
        return {
            f"{name}_port": str(self.relays[number, name][1] if self.relays else service.port)
            for name, service in self.services.items()
        }

    def start_replica(self, number: int, port: int = _NO_PORT) -> Router:
        """Start one, at this port or a free one; it is ready when this returns.

        Raises TargetNotReady.
        """
        return start_router(
            self.target,
            self.settings,
            self.fakes,
            self.folder,
            keys=self.keys,
            extra_env=self.extra_env,
            port=port,
            replica=number,
            services=self.service_ports(number),
        )

    def stop(self) -> None:
        """Stop the replicas. Safe to call twice."""
        for router in self.routers:
            if router.child:
                router.child.terminate()
        for router in self.routers:
            router.stop()
        for service in self.services.values():
            service.stop()


@contextmanager
def start_cluster(
    target: Target,
    settings: Settings,
    fakes: Fakes,
    folder: Path,
    *,
    keys: Mapping[str, str] | None = None,
    extra_env: Mapping[str, str] | None = None,
) -> Iterator[Cluster]:
    """Start ``settings.replicas`` replicas in front of ``fakes``, and the target's services.

    All are ready when this yields, and stopped after it. ``keys``: see ``start_router``. Each
    replica reaches each service through a relay of its own, unless there is only one replica.
    Raises TargetNotReady, HarnessError, or UsageError for a target without ``[start]``.
    """
    cluster = Cluster(
        target=target,
        settings=settings,
        fakes=fakes,
        folder=folder,
        keys=keys,
        extra_env=extra_env,
    )
    with ExitStack() as stack:
        if target.services and target.start is not None:
            common = placeholder_values(settings, fakes, _NO_PORT, folder, keys)
            cluster.services = start_services(target.services, common, folder, stack)
        if settings.replicas > 1:
            _start_relays(cluster, stack)
        stack.callback(cluster.stop)
        _start_replicas(cluster)
        yield cluster


def _start_relays(cluster: Cluster, stack: ExitStack) -> None:
    for number in range(1, cluster.settings.replicas + 1):
        for name, service in cluster.services.items():
            relay, port = start_relay(cluster.folder, f"relay-{name}-{number}", service.port)
            stack.callback(relay.stop)
            cluster.relays[number, name] = relay, port


def _start_replicas(cluster: Cluster) -> None:
    """All at once: a router may take long to become ready."""
    count = cluster.settings.replicas
    if count == 1:
        cluster.routers.append(cluster.start_replica(1))
        return
    with ThreadPoolExecutor(max_workers=count) as pool:
        starts = [pool.submit(partial(cluster.start_replica, n)) for n in range(1, count + 1)]
    cluster.routers += [start.result() for start in starts if start.exception() is None]
    for start in starts:
        start.result()  # The first error, once all that did start can be stopped.
