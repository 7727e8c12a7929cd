"""Handles of running processes: context managers that stop them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from routerspec.processes.child import Child
from routerspec.records.load_plan import ControlAccess
from routerspec.records.providers import base_of, instance_of


@dataclass(frozen=True, kw_only=True)
class Running:
    """A running process; a context manager that stops it. ``child`` None: not ours to stop."""

    child: Child | None
    log: Path

    def exited(self) -> int | None:
        """Exit status if it exited by itself; None while it runs, and after ``stop``."""
        return self.child.exited() if self.child else None

    def stop(self) -> None:
        """Stop it with all its children: SIGTERM, three seconds, SIGKILL. Safe to call twice."""
        if self.child:
            self.child.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


@dataclass(frozen=True, kw_only=True)
class FurtherInstance(Running):
    """The process of an instance of a provider beyond the first."""

    name: str
    """``openai-2``."""
    url: str
    control_url: str
    """Its control API takes the same token as that of the first."""
    ledger: Path


@dataclass(frozen=True, kw_only=True)
class Fakes(Running):
    """The fake providers' processes. URLs have no path and no trailing slash."""

    openai_url: str
    ollama_url: str
    anthropic_url: str | None = None
    """None: it is not served."""
    control_url: str
    control_token: str = field(default="", repr=False)
    """That calls of the control API must carry; empty: none."""
    ledger: Path
    further: tuple[FurtherInstance, ...] = ()
    """The instances beyond the first, provider by provider."""

    def exited(self) -> int | None:
        """Exit status of the first of its processes that exited by itself; None: all run."""
        statuses = (super().exited(), *(each.exited() for each in self.further))
        return next((status for status in statuses if status is not None), None)

    def stop(self) -> None:
        """Stop all of them."""
        for each in self.further:
            each.stop()
        super().stop()

    @property
    def control_urls(self) -> str:
        """Those of all processes, separated by commas."""
        return ",".join([self.control_url, *(each.control_url for each in self.further)])

    @property
    def access(self) -> ControlAccess:
        """How a process that controls them reaches them."""
        return ControlAccess(
            url=self.control_url,
            token=self.control_token,
            further={each.name: each.control_url for each in self.further},
        )

    @property
    def urls(self) -> dict[str, str]:
        """Placeholder -> URL, of every provider that is served, and of each of its instances."""
        firsts = {"openai": self.openai_url, "ollama": self.ollama_url}
        firsts |= {"anthropic": self.anthropic_url} if self.anthropic_url else {}
        values = {}
        for base, url in firsts.items():
            if not url:
                continue
            others = [each for each in self.further if base_of(each.name) == base]
            values[f"{base}_url"] = url
            values[f"{base}_urls"] = ",".join([url, *(each.url for each in others)])
            values |= {f"{base}_url_{instance_of(each.name)}": each.url for each in others}
        return values


@dataclass(frozen=True, kw_only=True)
class Router(Running):
    """The router under test, or one replica of it."""

    url: str

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rsplit(":", 1)[1])


@dataclass(frozen=True, kw_only=True)
class Load(Running):
    """The Locust process."""

    stdout: Iterator[str]
    """Its progress messages, a line at a time, to its end."""
