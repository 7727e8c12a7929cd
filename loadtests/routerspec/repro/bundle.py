"""One script out of several modules: a function, and the definitions that it uses.

A name counts as used wherever it stands, so that too much may be kept, and never too little.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_CALLED_BY_THE_LIBRARY = {"do_GET", "do_POST", "handle_error", "log_message"}


@dataclass(slots=True)
class _Piece:
    """A definition, or a statement, at the top of a module or of a class."""

    lines: list[str]
    defines: set[str]
    uses: set[str]
    parts: list[_Piece] = field(default_factory=list)
    """The methods of a class; its own lines are all the others."""
    kept: bool = False


def bundled(module: Path, entry: str, kit: Sequence[Path]) -> str:
    """The source of one script: ``entry`` of ``module``, and what it and ``run`` use, in order."""
    imports: list[ast.Import | ast.ImportFrom] = []
    every = [piece for path in (module, *kit) for piece in _pieces(path, imports)]
    used = {entry, "run"}
    while any(_grow(piece, used) for piece in every):
        pass
    body = [
        "\n".join(line for lines in _text(piece) for line in lines) for piece in every if piece.kept
    ]
    return "\n".join(_imports(imports, used)) + "\n\n\n" + "\n\n\n".join(body) + "\n"


def _keep(piece: _Piece, used: set[str]) -> None:
    piece.kept = True
    used |= piece.uses


def _grow(piece: _Piece, used: set[str]) -> bool:
    """Keep it, or a part of it, if its name has turned up; True when something was kept."""
    grown = not piece.kept and bool(piece.defines & used)
    if grown:
        _keep(piece, used)
    if piece.kept:
        for part in piece.parts:
            grown = _grow(part, used) or grown
    return grown


def _text(piece: _Piece) -> list[list[str]]:
    parts = [text for part in piece.parts if part.kept for text in ([""], *_text(part))]
    return [piece.lines, *parts]


def _pieces(path: Path, imports: list[ast.Import | ast.ImportFrom]) -> list[_Piece]:
    source = path.read_text(encoding="utf-8")
    lines, tree = source.splitlines(), ast.parse(source)
    pieces: list[_Piece] = []
    for index, node in enumerate(tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.append(node)
        elif _is_text(node):
            if index and pieces:
                pieces[-1].lines += _lines(lines, node)
        else:
            pieces.append(_piece(lines, node))
    return pieces


def _piece(lines: list[str], node: ast.stmt) -> _Piece:
    methods = (
        [part for part in node.body if isinstance(part, ast.FunctionDef)]
        if isinstance(node, ast.ClassDef)
        else []
    )
    own = ast.parse("")
    own.body = (
        [part for part in node.body if part not in methods]
        if isinstance(node, ast.ClassDef)
        else [node]
    )
    return _Piece(
        lines=_lines(lines, node, without=methods),
        defines=_defined(node),
        uses=_names(own, *(node.bases if isinstance(node, ast.ClassDef) else ())),
        parts=[_piece(lines, part) for part in methods],
    )


def _lines(lines: list[str], node: ast.stmt, without: Sequence[ast.FunctionDef] = ()) -> list[str]:
    drop = {number for part in without for number in range(_first(part), _last(part) + 1)}
    kept = [
        lines[number - 1] for number in range(_first(node), _last(node) + 1) if number not in drop
    ]
    while kept and not kept[-1].strip():
        kept.pop()
    return [
        line
        for index, line in enumerate(kept)
        if line.strip() or (index and kept[index - 1].strip())
    ]


def _first(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
    return min([node.lineno, *(each.lineno for each in decorators)])


def _last(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _defined(node: ast.stmt) -> set[str]:
    """What it defines; what the library calls by its name, and every class itself, is used."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        special = node.name.startswith("__") or node.name in _CALLED_BY_THE_LIBRARY
        return {node.name, "run"} if special else {node.name}
    return {
        name.id
        for name in ast.walk(node)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    }


def _names(*nodes: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        for each in ast.walk(node):
            if isinstance(each, ast.Name):
                found.add(each.id)
            elif isinstance(each, ast.Attribute):
                found.add(each.attr)
    return found


def _imports(nodes: list[ast.Import | ast.ImportFrom], used: set[str]) -> list[str]:
    """Each import once, in order, if any of it is used; nothing of ours, for it stands here."""
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
    return [
        "from __future__ import annotations",
        "",
        *(f"import {m}" for m in sorted(plain)),
        *names_from,
    ]
