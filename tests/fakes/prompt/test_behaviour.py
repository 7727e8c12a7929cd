"""Directives applied to the default behaviour."""

from __future__ import annotations

import pytest

from fake_providers.prompt.behaviour import Behaviour, UnknownDirective, apply

DEFAULT = Behaviour(first_s=0.5, tokens=7)


def test_without_directives_the_default_applies() -> None:
    assert apply({}, DEFAULT) is DEFAULT


def test_directives_override_the_default() -> None:
    directives = {"hold": "first", "gate": "g2", "gap": "0.25", "tools": "2", "status": "503"}
    assert apply(directives, DEFAULT) == Behaviour(
        hold="first", gate="g2", gap_s=0.25, tools=2, status=503, first_s=0.5, tokens=7
    )
    assert apply({"first": "0", "tokens": "0", "cut": "3"}, DEFAULT) == Behaviour(cut=3, tokens=0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hold", "tail"),
        ("gate", ""),
        ("first", "nan"),
        ("first", "-1"),
        ("gap", "3601"),
        ("gap", "inf"),
        ("tokens", "many"),
        ("tokens", "100001"),
        ("cut", "-1"),
        ("status", "200"),
        ("status", "600"),
        ("holt", "head"),
    ],
)
def test_an_unsupported_directive_is_refused_by_name(key: str, value: str) -> None:
    with pytest.raises(UnknownDirective, match=f"{key}={value}"):
        apply({key: value}, DEFAULT)


@pytest.mark.parametrize(
    ("hold", "stream", "where"),
    [
        ("head", False, "head"),
        ("head", True, "head"),
        ("first", True, "first"),
        ("first", False, ""),
        ("", True, ""),
    ],
)
def test_only_streams_hold_after_their_first_piece(hold: str, stream: bool, where: str) -> None:
    behaviour = apply({"hold": hold}, DEFAULT) if hold else DEFAULT
    assert behaviour.holds_at(stream=stream) == where
