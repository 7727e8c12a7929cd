"""Paragraphs in a terminal, wrapped to its width; elsewhere one line each."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.text import Text

from routerspec.markup.plain import clean

INDENT: Final = "  "
BULLET: Final = "  - "


def write(console: Console, text: str, style: str = "", lead: str = "") -> None:
    """Print ``text`` after ``lead``; further lines are indented as far as it is long.

    Control characters are shown as pictures of themselves.
    """
    body = Text(clean(text), style=style)
    width = max(1, console.width - len(lead))
    lines = body.wrap(console, width) if console.is_terminal else [body]
    for number, line in enumerate(lines):
        line.rstrip()
        before = " " * len(lead) if number else lead
        console.print(Text(before) + line, soft_wrap=True)
