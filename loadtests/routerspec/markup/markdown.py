"""Markdown in which foreign text stays text: no link, mention, heading, tag or cell of its own."""

from __future__ import annotations

import re
from typing import Final

from routerspec.markup.elements import clean

_SPECIAL: Final = re.compile(r"([\\`*{}\[\]#|~^$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
"""An underscore within a word is no emphasis."""
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@<!-- -->"}
_LINKED: Final = re.compile(r"(?i)(://|www\.)")
_BLOCK_MARK: Final = re.compile(r"^(\d+)?([.)+=-])(?=[ =-]|$)")
_PLAIN_URL: Final = re.compile(r"https?://[\w./#?=&%-]+")


def inline(text: str) -> str:
    """``text`` on one line, for a cell or the middle of a line."""
    flat = " ".join(clean(text).split())
    marked = "".join(_ENTITIES.get(letter, letter) for letter in _SPECIAL.sub(r"\\\1", flat))
    return _LINKED.sub(lambda found: f"{found[1][:-1]}<!-- -->{found[1][-1]}", marked)


def paragraph(text: str) -> str:
    """``text`` on one line, for the beginning of a line: it starts no list and no rule."""
    return _BLOCK_MARK.sub(r"\1\\\2", inline(text))


def fenced(text: str) -> str:
    """``text`` as a block of code, in a fence that is longer than any in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{clean(text)}\n{fence}"


def code(text: str) -> str:
    """``text`` as code in a line; an id or a name, without backticks."""
    return f"`{text}`"


def bold(text: str) -> str:
    """``text`` in bold."""
    return f"**{inline(text)}**"


def link(text: str, url: str) -> str:
    """``text`` that leads to ``url``; a text where the URL could end the link early."""
    if re.search(r"[\s()<>|]", url):
        return inline(text)
    if text == url:
        return f"<{url}>"
    # Within a link, the number of an issue leads nowhere else.
    return f"[{inline(text).replace(chr(92) + '#', '#')}]({url})"


def address(text: str) -> str:
    """A plain URL stays one, so that it can be followed; any other text is text."""
    return text if _PLAIN_URL.fullmatch(text) else inline(text)
