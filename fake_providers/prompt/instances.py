"""The names of providers: ``openai`` is one, or the first of several instances, ``openai-2`` the
second.

A question about ``openai`` is about all of its instances, one about ``openai-1`` or ``openai-2``
about that one.
"""

from __future__ import annotations

from typing import Final

NAME_PATTERN: Final = r"^(openai|ollama|anthropic)(-[1-9])?$"
"""What may be asked about."""
WORD: Final = r"[a-z]+(?:-[2-9])?"
"""A name in a record, as part of a regular expression."""
MOST: Final = 9
"""Instances of a provider."""


def name_of(base: str, instance: int) -> str:
    """The name in all records of this instance (from 1) of a provider."""
    return base if instance == 1 else f"{base}-{instance}"


def base_of(name: str) -> str:
    """The provider of which this is an instance."""
    return name.partition("-")[0]


def instance_of(name: str) -> int:
    """Which instance of its provider this is, from 1."""
    number = name.partition("-")[2]
    return int(number) if number.isdecimal() else 1


def is_about(asked: str | None, name: str) -> bool:
    """Whether a question about ``asked`` (None: any provider) is about the instance ``name``."""
    if asked is None or asked == name:
        return True
    return asked in {base_of(name), f"{base_of(name)}-{instance_of(name)}"}
