"""The rules: behaviour that the control API sets for all requests or some, permanently or counted.

The directives of the rules that match a request are applied in this order, the later over the
earlier: rules for all requests, for its provider, for its model. Its prompt's own come last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fake_providers.prompt.instances import is_about


@dataclass(slots=True, kw_only=True, eq=False)
class Rule:
    """Directives for the requests that it matches."""

    directives: Mapping[str, str]
    provider: str | None = None
    """None: all."""
    model: str | None = None
    """None: any. ``name`` and ``name:latest`` are the same."""
    left: int | None = None
    """Requests for which it still holds; None: until it is cleared."""
    error: Mapping[str, Any] = field(default_factory=dict)
    """``text`` and ``headers`` of a scripted error, where they are given."""

    def matches(self, provider: str, model: str) -> bool:
        """Whether it applies to a request for this model of this provider."""
        return (
            self.left != 0
            and is_about(self.provider, provider)
            and (self.model is None or _without_tag(self.model) == _without_tag(model))
        )


class Rules:
    """All rules in force."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Apply it from the next request on."""
        self._rules.append(rule)

    def clear(self) -> None:
        """Forget them all."""
        self._rules.clear()

    def take(self, provider: str, model: str) -> tuple[Rule, ...]:
        """The rules for this request, which counts as one of their ``left``."""
        if not self._rules:
            return ()
        chosen = [rule for rule in self._rules if rule.matches(provider, model)]
        for rule in chosen:
            if rule.left is not None:
                rule.left -= 1
        self._rules = [rule for rule in self._rules if rule.left != 0]
        return tuple(sorted(chosen, key=_specificity))

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)


def _specificity(rule: Rule) -> tuple[bool, bool]:
    return rule.model is not None, rule.provider is not None


def _without_tag(model: str) -> str:
    return model.removesuffix(":latest")


def parse(text: str) -> dict[str, str]:
    """``key=value,key=value`` as in a prompt's token."""
    pairs = (pair.partition("=") for pair in text.split(",") if pair)
    return {key.strip(): value.strip() for key, _, value in pairs}
