"""Every third-party module that is imported is declared in pyproject.toml, and nothing more is."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = {"fake_providers", "reference_router", "routerspec", "tests"}
PACKAGES = ("fake_providers", "reference_router", "loadtests/routerspec")
OF_THE_FAKES = {"httptools", "msgspec", "uvloop"}
"""Each import costs every start of theirs: FastAPI and uvicorn tripled its processor time."""
OF_A_TESTER = {"pytest"}
"""Imported by the plugin, within the pytest of whoever has one."""
OF_EXTRAS = {"redis"}
"""Imported only where a setting asks for what needs it."""


def distribution(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(lines: list[str]) -> set[str]:
    return {distribution(re.split(r"[<>=;\[ ]", line)[0]) for line in lines}


def imported(path: Path) -> Iterator[str]:
    """Top-level modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def third_party(*folders: str) -> dict[str, set[str]]:
    """Distribution -> the files that import it."""
    known = packages_distributions()
    found: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for module in set(imported(path)) - OURS - set(sys.stdlib_module_names):
            for name in known.get(module, [module]):
                place = str(path.relative_to(ROOT))
                found.setdefault(distribution(name), set()).add(place)
    return found


def test_every_import_of_the_packages_is_declared() -> None:
    imports = third_party(*PACKAGES)
    declared = required(PROJECT["dependencies"])
    assert {name: files for name, files in imports.items() if name not in declared} == {
        name: imports[name] for name in OF_A_TESTER | OF_EXTRAS
    }
    extras = PROJECT["optional-dependencies"]
    assert required([line for name in extras if name != "test" for line in extras[name]]) == (
        OF_EXTRAS
    )
    assert declared <= set(imports)


@pytest.mark.parametrize("package", ["fake_providers", "reference_router"])
def test_the_servers_import_neither_locust_nor_the_harness_own_parts(package: str) -> None:
    assert not {"locust", "gevent", "flask", "rich", "numpy"} & set(third_party(package))


def test_the_fakes_import_three_packages() -> None:
    assert set(third_party("fake_providers")) == OF_THE_FAKES


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (block,) = re.findall(r"(?ms)^dependencies = \[\n(.*?)^\]", text)
    assert [line for line in block.splitlines() if "#" not in line] == []
