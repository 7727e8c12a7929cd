"""Handles of running processes: context managers that stop them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from routerspec.processes.child import Child
from routerspec.records.load_plan import ControlAccess


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
class Fakes(Running):
    """The fake providers' process. URLs have no path and no trailing slash."""

    openai_url: str
    ollama_url: str
    anthropic_url: str | None = None
    """None: it is not served."""
    control_url: str
    control_token: str = field(default="", repr=False)
    """That calls of the control API must carry; empty: none."""
    ledger: Path

    @property
    def access(self) -> ControlAccess:
        """How a process that controls them reaches them."""
        return ControlAccess(url=self.control_url, token=self.control_token)

    @property
    def urls(self) -> dict[str, str]:
        """Placeholder -> URL, of every provider that is served."""
        both = {"openai_url": self.openai_url, "ollama_url": self.ollama_url}
        third = {"anthropic_url": self.anthropic_url} if self.anthropic_url else {}
        return both | third


@dataclass(frozen=True, kw_only=True)
class Router(Running):
    """The router under test."""

    url: str


@dataclass(frozen=True, kw_only=True)
class Load(Running):
    """The Locust process."""

    stdout: Iterator[str]
    """Its progress messages, a line at a time, to its end."""
