"""Mutations of files that somebody else may have written: of JSON, of bytes, of the file itself."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1 << 62, -(1 << 62), (1 << 63) - 1, 1 << 63, 1 << 70, 1e308, -1e308, 1.5,
    "", "x", "\x1b[31m[/red]<script>::error::", "\0", "9" * 400, "../../../../PWNED", "/etc/passwd",
    "a/b", "\ud800", [], {}, [1], ["a"], [1e308] * 5, [0.0] * 9, {"a": [1, 2, 3]},
)  # fmt: skip
"""What stands in place of a value."""

DAMAGE = (
    "cut", "line-twice", "line-gone", "lines-swapped", "empty", "gone", "zeros", "twice", "garbage",
    "shuffled",
)  # fmt: skip
"""Ways in which a file loses or doubles something, while no value in it changes."""

SHAPES = ("folder", "fifo", "link-out", "nested", "not-utf8", "unreadable-name")
"""Ways in which a file is none that can be read."""


def odd_json(value: Any, rng: random.Random) -> Any:
    """The document with a value replaced or removed, anywhere."""
    path = rng.choice(list(_paths(value)))
    if not path:
        return copy.deepcopy(rng.choice(ODD))
    below = value
    for key in path[:-1]:
        below = below[key]
    if isinstance(below, dict) and rng.random() < 0.15:
        del below[path[-1]]
    else:
        below[path[-1]] = copy.deepcopy(rng.choice(ODD))
    return value


def odd_values(path: Path, rng: random.Random) -> None:
    """Replace values in a file of one JSON document, or in up to three of its lines."""
    raw = path.read_bytes()
    if path.suffix == ".json":
        path.write_text(json.dumps(odd_json(json.loads(raw), rng)))
        return
    lines = raw.split(b"\n")
    for _ in range(rng.randint(1, 3)):
        number = rng.randrange(max(1, len(lines) - 1))
        if lines[number]:
            lines[number] = json.dumps(odd_json(json.loads(lines[number]), rng)).encode()
    path.write_bytes(b"\n".join(lines))


def flip(path: Path, rng: random.Random) -> None:
    """Change one byte."""
    raw = bytearray(path.read_bytes())
    raw[rng.randrange(len(raw))] = rng.randrange(256)
    path.write_bytes(raw)


def damage(path: Path, how: str, rng: random.Random) -> None:
    """Damage a file in one of the ways of ``DAMAGE``."""
    raw = path.read_bytes()
    lines = raw.split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    match how:
        case "cut":
            path.write_bytes(raw[: rng.randrange(len(raw) + 1)])
        case "line-twice":
            path.write_bytes(b"\n".join([*lines[: first + 1], *lines[first:]]))
        case "line-gone":
            path.write_bytes(b"\n".join([*lines[:first], *lines[first + 1 :]]))
        case "lines-swapped":
            lines[first], lines[second] = lines[second], lines[first]
            path.write_bytes(b"\n".join(lines))
        case "empty":
            path.write_bytes(b"")
        case "gone":
            path.unlink()
        case "zeros":
            path.write_bytes(raw + b"\0" * rng.randrange(5000))
        case "twice":
            path.write_bytes(raw + raw)
        case "garbage":
            path.write_bytes(raw + b"x" * 300_000)
        case "shuffled":
            middle = lines[1:-2]
            rng.shuffle(middle)
            path.write_bytes(b"\n".join([lines[0], *middle, *lines[-2:]]))


def reshape(path: Path, how: str) -> None:
    """Put something else in place of a file, in one of the ways of ``SHAPES``."""
    path.unlink()
    match how:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "link-out":
            path.symlink_to("/etc/hostname")
        case "nested":
            path.write_bytes(b'{"kind":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n")
        case "not-utf8":
            path.write_bytes(b'{"kind":"\xff\xfe"}\n')
        case "unreadable-name":
            path.symlink_to(path)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _paths(value[key], (*path, key))
    elif isinstance(value, list):
        for at in range(min(3, len(value))):
            yield from _paths(value[at], (*path, at))
