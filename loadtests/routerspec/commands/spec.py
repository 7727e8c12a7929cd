"""The spec as text: the list of checks, one check explained, the flaws by name.

Everything comes from the registry and the target files. Refuses to know any run.
"""

from __future__ import annotations

import difflib
import json

from rich.console import Console
from rich.padding import Padding

from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from routerspec.markup.tables import Cell, Column, Span, Table
from routerspec.processes.router import UNKNOWN_VERSION, installed_version
from routerspec.targets import Target, builtin_targets, load_target, variants_of


def show_list(console: Console) -> None:
    """Every check of the registry, a line each."""
    columns = [Column("check"), Column("kind"), Column("requirement", fit="wrap")]
    Table(columns, [[c.id, c.kind.value, c.promised] for c in REGISTRY.values()]).render(console)


def show_check(name: str, console: Console) -> None:
    """One check in full. Raises UsageError for an unknown id."""
    check = REGISTRY.get(name)
    if check is None:
        near = difflib.get_close_matches(name, REGISTRY, n=1)
        hint = f" Did you mean {near[0]}?" if near else " `routerspec list` shows them all."
        raise UsageError(f"No check is called {name!r}.{hint}")
    console.print(f"[bold]{check.id}[/bold] ({check.kind})")
    for title, text in (
        ("What must be so", check.promised),
        ("How it is proved", check.proved),
        ("When in doubt", check.doubt),
        ("Real bugs", check.bug),
        ("How to fix it", check.fix),
        ("Played by", ", ".join(check.scenarios)),
    ):
        console.print(f"\n[bold]{title}[/bold]")
        console.print(Padding(text, (0, 0, 0, 2)), markup=False, highlight=False)


def show_targets(console: Console) -> None:
    """Every built-in target: its variants, the version that is installed, or how to get one."""
    rows: list[list[Cell]] = []
    for name in builtin_targets():
        target = load_target(name)
        version = installed_version(target)
        there = version != UNKNOWN_VERSION
        variants = ", ".join(f":{variant}" for variant in variants_of(name))
        how = "" if there else f"{target.install}  {target.homepage}"
        rows.append([name, version if there else "no", [variants, Span(how, below=True)]])
    columns = [
        Column("target"),
        Column("installed"),
        Column("variants; install", fit="wrap"),
    ]
    Table(columns, rows).render(console)
    console.print("\nYour own is a file: `routerspec smoke ./my-router.toml`.", markup=False)


def target_schema() -> str:
    """The JSON Schema of target files, as text."""
    from routerspec.targets.schema import json_schema  # noqa: PLC0415 - imports pydantic

    return json.dumps(json_schema(), indent=1)


def refuse_unknown_flaw(name: str, target: Target) -> None:
    """Raise UsageError unless ``name`` is a flaw and ``target`` is the router that has it."""
    from reference_router.flaws import FLAWS  # noqa: PLC0415 - wanted by this word alone

    if target.name != "reference":
        raise UsageError(f"--flaw is a defect of the reference router; {target.name} has its own.")
    if name not in FLAWS:
        raise UsageError(f"No flaw is called {name!r}. There are: {', '.join(FLAWS)}.")
