"""On which line of a TOML text a key stands, so that an error can name it.

``tomllib`` keeps no positions. Decides by a light reading of headers and keys that is right for
every text ``tomllib`` has accepted, up to keys within an inline table: those are told by the line
of the table. Refuses to know what a key means.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

Path = tuple[str | int, ...]

_KEY: Final = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED: Final = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER: Final = re.compile(rf"\s*\[\s*({_DOTTED})\s*\]\s*(?:#.*)?$")
_ARRAY_HEADER: Final = re.compile(rf"\s*\[\[\s*({_DOTTED})\s*\]\]\s*(?:#.*)?$")
_ASSIGNMENT: Final = re.compile(rf"\s*({_DOTTED})\s*=")
_ONE_KEY: Final = re.compile(_KEY)
_LONG_QUOTE: Final = re.compile(r"\"\"\"|'''")


def line_of(text: str, path: Path) -> int:
    """Line (from 1) of the key at ``path``, or of the nearest table around it; 1 if none is."""
    best, line = 0, 1
    for number, at in _positions(text):
        common = len(at) if path[: len(at)] == at else 0
        if common > best:
            best, line = common, number
    return line


def _positions(text: str) -> Iterator[tuple[int, Path]]:
    """(line, path) of every header and every key that begins a line."""
    table: Path = ()
    counts: Counter[str] = Counter()
    long_quote = ""
    for number, line in enumerate(text.splitlines(), start=1):
        inside, long_quote = long_quote, _quote_after(line, long_quote)
        if inside:
            continue
        if found := _ARRAY_HEADER.match(line):
            name = found[1]
            table = (*_split(name), counts[name])
            counts[name] += 1
            yield number, table
        elif found := _HEADER.match(line):
            table = _split(found[1])
            yield number, table
        elif found := _ASSIGNMENT.match(line):
            yield number, table + _split(found[1])


def _quote_after(line: str, quote: str) -> str:
    """The long quote that is open after ``line``, when ``quote`` was open before it."""
    for found in _LONG_QUOTE.finditer(line):
        if not quote:
            quote = found[0]
        elif found[0] == quote:
            quote = ""
    return quote


def _split(dotted: str) -> Path:
    return tuple(key.strip("\"'") for key in _ONE_KEY.findall(dotted))
