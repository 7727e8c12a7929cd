"""The names of instances."""

from __future__ import annotations

import re

import pytest

from fake_providers.prompt.instances import (
    NAME_PATTERN,
    WORD,
    base_of,
    instance_of,
    is_about,
    name_of,
)


@pytest.mark.parametrize("name", ["openai", "openai-2", "ollama", "anthropic-9"])
def test_a_name_is_a_provider_and_a_number(name: str) -> None:
    assert name_of(base_of(name), instance_of(name)) == name
    assert re.fullmatch(NAME_PATTERN, name)
    assert re.fullmatch(WORD, name)


@pytest.mark.parametrize(
    ("asked", "name", "expected"),
    [
        (None, "openai-2", True),
        ("openai", "openai-2", True),
        ("openai", "openai", True),
        ("openai-1", "openai", True),
        ("openai-1", "openai-2", False),
        ("openai-2", "openai", False),
        ("openai-2", "openai-2", True),
        ("openai-2", "ollama-2", False),
        ("ollama", "openai", False),
    ],
)
def test_what_a_question_is_about(asked: str | None, name: str, expected: bool) -> None:
    assert is_about(asked, name) is expected
