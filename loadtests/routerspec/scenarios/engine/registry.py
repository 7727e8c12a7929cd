"""The scenarios by name, as plans and records have them: each registers where it is defined."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Final

from routerspec import scenarios
from routerspec.scenarios.engine.conductor import Conductor

Scenario = Callable[[Conductor], None]

_REGISTERED: Final[dict[str, Scenario]] = {}
_NO_SCENARIOS: Final = frozenset({"engine", "locust"})


def scenario(name: str) -> Callable[[Scenario], Scenario]:
    """Register the decorated function as the scenario ``name``, which must be new."""

    def register(play: Scenario) -> Scenario:
        if name in _REGISTERED:
            raise ValueError(f"two scenarios are called {name!r}")
        _REGISTERED[name] = play
        return play

    return register


def all_scenarios() -> Mapping[str, Scenario]:
    """Name -> scenario, of every module beside the engine."""
    prefix = f"{scenarios.__name__}."
    for module in pkgutil.walk_packages(scenarios.__path__, prefix):
        if module.name.removeprefix(prefix).partition(".")[0] not in _NO_SCENARIOS:
            importlib.import_module(module.name)
    return _REGISTERED
