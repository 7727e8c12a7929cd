"""The names of providers and of their instances, as all records have them.

``openai`` is a provider, and the first of its instances; ``openai-2`` is its second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from fake_providers.prompt.instances import base_of, instance_of, name_of

__all__ = ["PROVIDERS", "base_of", "counts", "file_of", "further", "instance_of", "name_of"]

PROVIDERS: Final = ("openai", "ollama", "anthropic")
"""All there are."""


def counts(names: Iterable[str]) -> dict[str, int]:
    """Provider -> its number of instances, where these are beyond the first: see ``further``."""
    found: dict[str, int] = {}
    for name in names:
        found[base_of(name)] = max(found.get(base_of(name), 1), instance_of(name))
    return found


def file_of(name: str) -> str:
    """The instance by which the file of its evidence is named; empty: the first of each."""
    return name if instance_of(name) > 1 else ""


def further(instances: Mapping[str, int]) -> tuple[str, ...]:
    """The names of all instances beyond the first of each provider; provider -> its number."""
    return tuple(
        name_of(base, number)
        for base, count in sorted(instances.items())
        for number in range(2, count + 1)
    )
