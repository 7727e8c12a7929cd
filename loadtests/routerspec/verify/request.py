"""The request for a verification, and how checks are selected by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from routerspec.checks import REGISTRY
from routerspec.checks.versions import LATEST, of_version
from routerspec.errors import UsageError
from routerspec.limits import LOAD_S
from routerspec.processes.ports import FREE_PORTS, FakePorts
from routerspec.targets import Target

QUICK: Final = tuple(check.id for check in REGISTRY.values() if check.quick)
"""The most revealing few, for ``--quick``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """What to verify, and how."""

    target: Target
    checks: tuple[str, ...]
    """Ids, in the registry's order."""
    runs: Path
    command: str
    seed: int
    spec: str = LATEST
    """The version of the spec that the checks are of."""
    flaw: str = ""
    url: str = ""
    """A router that is already running; empty: start it."""
    further_urls: tuple[str, ...] = ()
    """Those of its replicas beyond the first."""
    fakes: str = ""
    """Control URLs of running fakes behind the router at ``url``, separated by commas; empty: start
    some."""
    ports: FakePorts = FREE_PORTS
    load_s: float = LOAD_S
    """How long the mixed load lasts, at most."""
    whole_load: bool = False
    """It lasts so long, whatever it has shown before."""
    allow_remote: bool = False
    """``url`` may be on another machine."""
    only_smoke: bool = False
    load_processes: int = 0
    """How many load processes make what many clients make at once; 0: the one that leads."""
    fail_fast: bool = False
    """End at the first ``must`` that is violated."""


def select(prefixes: tuple[str, ...], version: str = LATEST) -> tuple[str, ...]:
    """The ids of checks that begin with one of ``prefixes``: an id, a group (``cap``), or less.

    ``version``: of the spec; no check that is newer is selected. Raises UsageError for a prefix
    that selects nothing.
    """
    selected: set[str] = set()
    there = tuple(of_version(REGISTRY, version))
    for prefix in prefixes:
        matches = {id_ for id_ in there if id_.startswith(prefix)}
        if not matches:
            newer = version != LATEST and any(id_.startswith(prefix) for id_ in REGISTRY)
            raise UsageError(
                f"{prefix!r} is newer than version {version} of the spec: leave out --spec."
                if newer
                else f"No check is called {prefix!r}. See `routerspec list`; a group such as `cap` "
                "selects all of its checks."
            )
        selected |= matches
    return tuple(id_ for id_ in there if id_ in selected)
