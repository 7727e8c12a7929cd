"""`routerspec list`, `explain` and `targets`: the registry of checks and the built-in targets."""

from __future__ import annotations

import argparse
import difflib
import json

from rich.console import Console
from rich.padding import Padding

from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from routerspec.markup.tables import Cell, Column, Span, Table
from routerspec.processes.router import UNKNOWN_VERSION, installed_version
from routerspec.targets import Target, builtin_targets, load_target, variants_of


def list_options(parser: argparse.ArgumentParser) -> None:
    """``routerspec list`` has no options."""
    parser.set_defaults(command=_list)


def explain_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec explain``."""
    parser.add_argument("id", help="id of a check, e.g. cap/streams")
    parser.set_defaults(command=_explain)


def targets_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec targets``."""
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of target files, for editors"
    )
    parser.set_defaults(command=_targets)


def _list(_options: argparse.Namespace) -> int:
    show_list(Console())
    return 0


def _explain(options: argparse.Namespace) -> int:
    show_check(options.id, Console())
    return 0


def _targets(options: argparse.Namespace) -> int:
    if options.schema:
        print(target_schema())
    else:
        show_targets(Console())
    return 0


def show_list(console: Console) -> None:
    """A line for each check of the registry."""
    columns = [Column("check"), Column("kind"), Column("requirement", fit="wrap")]
    Table(columns, [[c.id, c.kind.value, c.promised] for c in REGISTRY.values()]).render(console)


def show_check(name: str, console: Console) -> None:
    """One check in full. Raises UsageError for an unknown id."""
    check = REGISTRY.get(name)
    if check is None:
        near = difflib.get_close_matches(name, REGISTRY, n=1)
        hint = f" Did you mean {near[0]}?" if near else " See `routerspec list`."
        raise UsageError(f"No check is called {name!r}.{hint}")
    console.print(f"[bold]{check.id}[/bold] ({check.kind})")
    for title, text in (
        ("Requirement", check.promised),
        ("How it is proved", check.proved),
        ("When in doubt", check.doubt),
        ("Real bugs", check.bug),
        ("How to fix it", check.fix),
        ("Scenarios", ", ".join(check.scenarios)),
    ):
        console.print(f"\n[bold]{title}[/bold]")
        console.print(Padding(text, (0, 0, 0, 2)), markup=False, highlight=False)


def show_targets(console: Console) -> None:
    """Every built-in target: its variants, and the installed version or how to install one."""
    rows: list[list[Cell]] = []
    for name in builtin_targets():
        target = load_target(name)
        version = installed_version(target)
        there = version != UNKNOWN_VERSION
        variants = ", ".join(f":{variant}" for variant in variants_of(name))
        how = "" if there else f"{target.install}  {target.homepage}"
        rows.append([name, version if there else "no", [variants, Span(how, below=True)]])
    titles = (Column("target"), Column("installed"), Column("variants; how to install", fit="wrap"))
    Table(titles, rows).render(console)
    console.print(
        "\nFor your own router write a target file: `routerspec smoke ./my-router.toml`.",
        markup=False,
    )


def target_schema() -> str:
    """The JSON Schema of target files, as text."""
    from routerspec.targets.schema import json_schema  # noqa: PLC0415 - imports pydantic

    return json.dumps(json_schema(), indent=1)


def refuse_unknown_flaw(name: str, target: Target) -> None:
    """Raise UsageError unless ``name`` is a flaw and ``target`` is the router that has it."""
    from reference_router.flaws import FLAWS  # noqa: PLC0415 - needed here alone

    if target.name != "reference":
        raise UsageError(f"--flaw only works with the reference router, not with {target.name}.")
    if name not in FLAWS:
        raise UsageError(f"No flaw is called {name!r}. Flaws: {', '.join(FLAWS)}.")
