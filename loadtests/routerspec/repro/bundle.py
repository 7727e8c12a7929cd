"""One script out of several modules: a function, and the definitions that it uses.

A function or class counts as used wherever its name stands and is not bound there, a method
wherever it stands after a dot: so too much may be kept, and never too little.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_CALLED_BY_THE_LIBRARY = {"do_GET", "do_POST", "handle_error", "log_message"}


@dataclass(slots=True)
class _Definition:
    """A statement at the top of a module, or a method."""

    lines: list[str]
    """Of a class, without its methods."""
    names: set[str]
    uses: set[str]
    methods: list[_Definition] = field(default_factory=list)
    kept: bool = False

    @property
    def source(self) -> str:
        methods = ["", *(method.source for method in self.methods if method.kept)]
        return "\n".join(self.lines) + "\n\n".join(methods)


def bundled(module: Path, entry: str, kit: Sequence[Path], *, also: Sequence[str] = ()) -> str:
    """The source of one script: ``entry`` of ``module``, and what it and ``run`` use, in order.

    ``also``: names that are kept without being used.
    """
    imports: list[ast.Import | ast.ImportFrom] = []
    definitions = []
    for path in (module, *kit):
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in ast.parse("\n".join(lines)).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                imports.append(node)
            elif not isinstance(node, ast.Expr):  # a docstring
                definitions.append(_definition(lines, node))
    used = {entry, "run", *also}
    while _keep(definitions, used):
        pass
    kept = [definition.source for definition in definitions if definition.kept]
    return "\n".join(_imports(imports, used)) + "\n\n\n" + "\n\n\n".join(kept) + "\n"


def _keep(definitions: Sequence[_Definition], used: set[str]) -> bool:
    """Keep the definitions whose names are used, and use theirs; False when there are no more."""
    grown = False
    for each in definitions:
        if not each.kept and each.names & used:
            each.kept = grown = True
            used |= each.uses
        if each.kept and _keep(each.methods, used):
            grown = True
    return grown


def _definition(lines: list[str], node: ast.stmt) -> _Definition:
    body = node.body if isinstance(node, ast.ClassDef) else []
    methods = [part for part in body if isinstance(part, ast.FunctionDef)]
    own = [node] if not methods else [*node.bases, *body[: -len(methods)]]  # type: ignore[attr-defined]
    end = _first_line(methods[0]) - 1 if methods else node.end_lineno
    return _Definition(
        lines="\n".join(lines[_first_line(node) - 1 : end]).rstrip().splitlines(),
        names=_names_of(node),
        uses=_used_in(own),
        methods=[_method(_definition(lines, method)) for method in methods],
    )


def _method(definition: _Definition) -> _Definition:
    """Its name as it is used: after a dot."""
    names = {name if name == "run" else f".{name}" for name in definition.names}
    return replace(definition, names=names)


def _first_line(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
    return min([node.lineno, *(each.lineno for each in decorators)])


def _names_of(node: ast.stmt) -> set[str]:
    """What it defines; what the language or the library calls counts as used by ``run``."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        called = node.name.startswith("__") or node.name in _CALLED_BY_THE_LIBRARY
        return {node.name, "run"} if called else {node.name}
    return {
        name.id
        for name in ast.walk(node)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    }


def _used_in(nodes: Sequence[ast.AST]) -> set[str]:
    every = [each for node in nodes for each in ast.walk(node)]
    names = {each.id for each in every if isinstance(each, ast.Name)}
    for each in every:  # what is bound within is another's
        if isinstance(each, ast.arg):
            names.discard(each.arg)
        elif isinstance(each, ast.FunctionDef) and each not in nodes:
            names.discard(each.name)
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            names.discard(each.id)
    return names | {f".{each.attr}" for each in every if isinstance(each, ast.Attribute)}


def _imports(nodes: Sequence[ast.Import | ast.ImportFrom], used: set[str]) -> list[str]:
    """Each import once, in order, if any of it is used; the modules bundled here are none."""
    plain: set[str] = set()
    by_module: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            plain |= {a.name for a in node.names if a.name.partition(".")[0] in used}
        elif node.module and node.module.partition(".")[0] not in {"routerspec", "__future__"}:
            names = {a.name for a in node.names if a.name in used}
            if names:
                by_module.setdefault(node.module, set()).update(names)
    names_from = [f"from {m} import {', '.join(sorted(n))}" for m, n in sorted(by_module.items())]
    future = ["from __future__ import annotations", ""]
    return [*future, *(f"import {module}" for module in sorted(plain)), *names_from]
