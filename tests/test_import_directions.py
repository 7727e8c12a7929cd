"""Imports never run backwards: each part knows only what comes before it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("fake_providers", "reference_router", "routerspec")

ORDER = (
    {"fake_providers.evidence", "fake_providers.mapped", "fake_providers.wants"},
    {
        "fake_providers.ledger",
        "routerspec.errors",
        "routerspec.promises",
        "routerspec.scenario_needs",
        "routerspec.sweep",
    },
    {"routerspec.observations", "routerspec.patience"},
    {"routerspec.columns"},
    {"routerspec.joined"},
    {"routerspec.run", "routerspec.verdict"},
    {"routerspec.faults"},
    {"routerspec.history"},
    {"routerspec.checks"},
    {"routerspec.smoke_advice"},
    {"routerspec.smoke"},
    {"routerspec.judge"},
    {"routerspec.proof", "routerspec.publish_rules", "routerspec.bench_figures"},
    {"routerspec.growth"},
    {"routerspec.compare"},
    {"routerspec.report"},
    {"routerspec.cli"},
)
"""The judging half, in the way of the data. A package stands for all of its modules."""


def modules(folder: Path, name: str) -> dict[str, Path]:
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        found[".".join((name, *parts))] = path
    return found


ALL = (
    modules(ROOT / "fake_providers", "fake_providers")
    | modules(ROOT / "reference_router", "reference_router")
    | modules(ROOT / "loadtests" / "routerspec", "routerspec")
)


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it; of ``from a import b`` also ``a.b``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} has a relative import"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def place(module: str) -> int | None:
    for index, level in enumerate(ORDER):
        if any(module == name or module.startswith(f"{name}.") for name in level):
            return index
    return None


@pytest.mark.parametrize("module", sorted(name for name in ALL if place(name) is not None))
def test_the_judging_half_imports_only_what_comes_before(module: str) -> None:
    own = place(module)
    assert own is not None
    for name in imported(ALL[module]):
        target = place(name)
        if target is not None:
            assert target <= own, f"{module} imports {name}"


@pytest.mark.parametrize("level", ORDER, ids=min)
def test_what_stands_on_one_level_knows_nothing_of_each_other(level: set[str]) -> None:
    for module in level & set(ALL):
        assert not imported(ALL[module]) & (level - {module})


JUDGING = [name for name in ALL if place(name) not in {None, len(ORDER) - 1}]


@pytest.mark.parametrize("module", JUDGING)
def test_the_judge_knows_nothing_of_load_targets_or_processes(module: str) -> None:
    allowed = set().union(*ORDER)
    for name in imported(ALL[module]):
        if name.split(".")[0] in OURS and name in ALL and name not in OURS:
            assert any(name == a or name.startswith(f"{a}.") for a in allowed), (module, name)


@pytest.mark.parametrize("module", sorted(n for n in ALL if n.startswith("reference_router")))
def test_the_reference_router_imports_nothing_else_of_ours(module: str) -> None:
    roots = {name.split(".")[0] for name in imported(ALL[module])}
    assert not roots & {"routerspec", "fake_providers"}


@pytest.mark.parametrize("module", sorted(n for n in ALL if n.startswith("fake_providers")))
def test_the_fakes_know_nothing_of_routers(module: str) -> None:
    roots = {name.split(".")[0] for name in imported(ALL[module])}
    assert not roots & {"routerspec", "reference_router", "locust", "gevent"}


@pytest.mark.parametrize(
    "module", sorted(n for n in ALL if not n.startswith("routerspec.scenarios"))
)
def test_only_the_scenarios_import_locust(module: str) -> None:
    roots = {name.split(".")[0] for name in imported(ALL[module])}
    assert not roots & {"locust", "gevent", "geventhttpclient"}
