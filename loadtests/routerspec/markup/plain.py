"""Foreign text made harmless for every place where it is read: a terminal, a log, a document.

A control character is shown as its picture, and what only changes how other characters look as a
replacement character. CI systems obey certain words in what a job prints: these are taken apart.
"""

from __future__ import annotations

import re
from typing import Final

_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, and the same again in eight bits
    "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"  # order of text, ends of lines
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # marks that nobody sees
    "\ud800-\udfff\ufffe\uffff]"  # none at all
)
_COMMAND: Final = re.compile(r"(?i)(?<!\S):(?=:)|#(?=#(?:\[|vso\[|teamcity\[))")
"""GitHub's ``::error::`` at the start of a line and ``##[error]`` anywhere, Azure's, TeamCity's."""


def clean(text: str) -> str:
    """``text`` in which nothing but line ends and tabs does anything."""
    return _COMMAND.sub(r"\g<0> ", _UNSAFE.sub(_picture, text.replace("\r\n", "\n")))


def clean_json(text: str) -> str:
    """JSON with the same content, in which the same characters are escaped."""
    escaped = _UNSAFE.sub(lambda found: _escaped(found.group()), text)
    return _COMMAND.sub(lambda found: _escaped(found.group()), escaped)


def _picture(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2))
