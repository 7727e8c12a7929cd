"""The rules: behaviour that the control API orders, for all requests or some, for good or counted.

Decides which rules a request meets and in which order their wants lie over each other: rules for
all, then for one provider, then for one model, the later told over the earlier. Refuses to know
what the wants mean, and the prompt's own, which lie over all of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True, eq=False)
class Rule:
    """One order."""

    wants: Mapping[str, str]
    provider: str | None = None
    """None: both."""
    model: str | None = None
    """None: any. ``name`` and ``name:latest`` are the same."""
    left: int | None = None
    """For so many requests more; None: for good."""
    error: Mapping[str, Any] = field(default_factory=dict)
    """``text`` and ``headers`` of an error that it orders, where they are told."""

    def meets(self, provider: str, model: str) -> bool:
        """A request for this model of this provider is one that it is for."""
        return (
            self.left != 0
            and self.provider in {None, provider}
            and (self.model is None or _bare(self.model) == _bare(model))
        )


class Rules:
    """All rules that stand."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """From the next request on."""
        self._rules.append(rule)

    def clear(self) -> None:
        """Forget them all."""
        self._rules.clear()

    def met(self, provider: str, model: str) -> tuple[Rule, ...]:
        """The rules for this request, which is counted."""
        if not self._rules:
            return ()
        chosen = [rule for rule in self._rules if rule.meets(provider, model)]
        for rule in chosen:
            if rule.left is not None:
                rule.left -= 1
        self._rules = [rule for rule in self._rules if rule.left != 0]
        return tuple(sorted(chosen, key=_narrowness))

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)


def _narrowness(rule: Rule) -> tuple[bool, bool]:
    return rule.model is not None, rule.provider is not None


def _bare(model: str) -> str:
    return model.removesuffix(":latest")


def parse(text: str) -> dict[str, str]:
    """``key=value,key=value`` as in a prompt's token."""
    pairs = (pair.partition("=") for pair in text.split(",") if pair)
    return {key.strip(): value.strip() for key, _, value in pairs}
