"""Records of which every text is hostile, and what a document may not have gained by them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from markdown_it import MarkdownIt

HOSTILE = (
    "::error::a\n\n::add-mask::b\r::warning::c ##[error]d ##vso[task.x]e ##teamcity[f]\n"
    "\x1b[31mred \x1b]0;title\x07 \x1b]8;;https://evil.example\x1b\\link \x1b]52;c;cHc=\x07 \x1b[2J"
    "\x9b31m \x9d0;c1\x9c \x00 \x7f \u202eltr\u202c \u2066i\u2069 \u2028::notice::g \ufeff "
    "[/red]x [bold]y[/bold] <script>1</script><img src=x onerror=2> </details></td></pre><h1>z "
    "]]> <!-- --> &amp; \"'  | p | `q` ``` ~~~ \\| *r* **s** _t_ [u](javascript:3) [v]: w\n"
    "# head\n\n---\n- list\n1. list\n> quote\n| a |\n|---|\n@everyone #1 GH-2 www.evil.example "
    "https://evil.example \"\"\" ''' \\ {token} {0} %0A::debug::x $HOME `id` \U000e0041 \\"
)
"""What a router, a prompt, a target file or a run of somebody else may say."""

PLAIN = "words"
Record = TypeVar("Record")
_MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def with_texts(record: Record, text: str, keep: tuple[str, ...] = ()) -> Record:
    """The record with ``text`` in every field that takes any text, but for those named ``keep``."""
    kind: type[Record] = type(record)
    tree = msgspec.to_builtins(record, enc_hook=dict)
    for parent, key in list(_texts(tree, keep)):
        before = parent[key]
        parent[key] = text
        try:
            msgspec.convert(tree, kind)
        except msgspec.ValidationError:
            parent[key] = before
    _rename_keys(tree, text)
    return msgspec.convert(tree, kind)


def _rename_keys(tree: Any, text: str) -> None:
    """Numbers, known issues and the like are called as routes and checks are."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        if key in {"numbers", "samples", "known", "not_applicable"} and isinstance(value, dict):
            tree[key] = {f"{name} {text}": its for name, its in value.items()}
        elif isinstance(value, dict | list):
            _rename_keys(value, text)


def _texts(tree: Any, keep: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    items = list(tree.items() if isinstance(tree, dict) else enumerate(tree))
    for key, value in items:
        if key in keep:
            continue
        if isinstance(value, str):
            yield tree, key
        elif isinstance(value, dict | list | tuple):
            tree[key] = list(value) if isinstance(value, tuple) else value
            yield from _texts(tree[key], keep)


def structure(markdown: str) -> list[str]:
    """The elements of a Markdown document, without their texts."""
    found = []
    for token in _MARKDOWN.parse(markdown):
        found.append(f"{token.type} {token.tag}")
        for child in token.children or ():
            if child.type == "html_inline" and child.content == "<!-- -->":
                continue
            if child.type != "text" or found[-1] != "text ":
                found.append(f"{child.type} {child.tag}".replace("text_special", "text"))
    merged: list[str] = []
    for each in found:
        if not (each == "text " and merged[-1:] == ["text "]):
            merged.append(each)
    return merged


def refuse_commands(text: str) -> None:
    """No line is a command to a CI system, and no character does anything to a terminal."""
    with contextlib.suppress(UnicodeEncodeError):
        text.encode()
    for line in text.splitlines():
        assert not line.lstrip().startswith("::"), line
    for word in ("##[", "##vso[", "##teamcity["):
        assert word not in text
    for char in text:
        code = ord(char)
        assert char in "\n\t" or 0x20 <= code < 0x7F or code >= 0xA0, hex(code)
        assert not 0x202A <= code <= 0x202E, hex(code)
        assert not 0x2066 <= code <= 0x2069, hex(code)
        assert code not in {0x200E, 0x200F, 0x61C, 0x2028, 0x2029, 0xFEFF}, hex(code)
        assert not 0xD800 <= code < 0xE000, hex(code)
        assert not 0xE0000 <= code < 0xE0080, hex(code)
