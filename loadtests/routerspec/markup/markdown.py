"""Markdown in which foreign text stays text: no link, mention, heading, tag or cell of its own."""

from __future__ import annotations

import re
from typing import Final

from routerspec.markup.plain import clean

_SPECIAL: Final = re.compile(r"([\\`*{}\[\]#|~^$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
"""An underscore within a word is no emphasis."""
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@<!-- -->"}
_LINKED: Final = re.compile(r"(?i)(://|www\.)")
_BLOCK_MARK: Final = re.compile(r"^(\d+)?([.)+=-])(?=[ =-]|$)")
_LINKABLE: Final = re.compile(r"https?://[^\s()<>|\\`\[\]\x00-\x1f\x7f-\x9f]+")
_RELATIVE: Final = re.compile(r"(?!\.)[\w.+-]+/(?!\.)[\w.+-]+/README\.md")
"""Between published pages."""
_PLAIN_URL: Final = re.compile(r"https?://[\w./#?=&%-]+")


def inline(text: str) -> str:
    """``text`` on one line, for a cell or the middle of a line."""
    flat = " ".join(clean(text).split())
    marked = "".join(_ENTITIES.get(letter, letter) for letter in _SPECIAL.sub(r"\\\1", flat))
    return _LINKED.sub(lambda found: f"{found[1][:-1]}<!-- -->{found[1][-1]}", marked)


def paragraph(text: str) -> str:
    """``text`` on one line, for the beginning of a line: it starts no list and no rule."""
    return _BLOCK_MARK.sub(r"\1\\\2", inline(text))


def fenced(text: str, language: str = "text") -> str:
    """``text`` as a block of code, in a fence that is longer than any in the text."""
    fence = _ticks(text, least=3)
    return f"{fence}{language}\n{clean(text)}\n{fence}"


def _ticks(text: str, least: int) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    return "`" * max(least, longest + 1)


def code(text: str) -> str:
    """``text`` as code in a line, in backticks that are more than any in the text."""
    flat = " ".join(clean(text).split()) or " "
    ticks = _ticks(flat, least=1)
    pad = " " if flat[0] == "`" or flat[-1] == "`" else ""
    return f"{ticks}{pad}{flat}{pad}{ticks}"


def code_cell(text: str) -> str:
    """The same in a table's cell, where a bar ends the cell even within code."""
    return code(text).replace("|", "\\|")


def bold(text: str) -> str:
    """``text`` in bold."""
    return f"**{inline(text)}**"


def link(text: str, url: str) -> str:
    """``text`` that leads to ``url``; a text where the URL is none, or could end the link early."""
    if not _LINKABLE.fullmatch(url) and not _RELATIVE.fullmatch(url):
        return inline(text)
    if text == url and _LINKABLE.fullmatch(url):
        return f"<{url}>"
    # Within a link, the number of an issue leads nowhere else.
    return f"[{inline(text).replace(chr(92) + '#', '#')}]({url})"


def address(text: str) -> str:
    """A plain URL stays one, so that it can be followed; any other text is text."""
    return text if _PLAIN_URL.fullmatch(text) else inline(text)
