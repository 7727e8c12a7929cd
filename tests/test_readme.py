"""The README says what is so: its target is one, its words are words, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from routerspec import cli
from routerspec.promises import Cap, ModelList
from routerspec.targets import read_target

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for its, text in FENCE.findall(README) if its == language]


def routerspec_lines() -> list[str]:
    lines = (line.split("#")[0].strip() for text in blocks("sh") for line in text.splitlines())
    return [line for line in lines if line.startswith("routerspec ")]


def test_the_target_file_is_one() -> None:
    (text,) = blocks("toml")
    target = read_target(text, "README.md", "")
    assert target.promises.cap == Cap(limit=4)
    assert target.promises.model_list == ModelList(ttl_s=2.0)
    assert [route.name for route in target.routes] == ["openai", "ollama"]
    assert target.uses("cap")
    assert target.start is not None
    assert "{ollama_url}" in target.start.files["config.yaml"]


def test_the_two_commands_are_one_line_each_and_make_their_own_environment() -> None:
    first, second = (text for text in blocks("sh") if "venv" in text)
    for command in (first, second):
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert first.rstrip().endswith("routerspec verify")
    assert second.rstrip().endswith("pytest -q")


@pytest.mark.parametrize("line", routerspec_lines())
def test_every_command_line_is_understood(line: str) -> None:
    parsed = cli.parser().parse_args(shlex.split(line)[1:])
    assert callable(parsed.command)


def test_every_option_of_the_commands_table_is_understood() -> None:
    (row,) = [line for line in README.splitlines() if line.startswith("| `routerspec verify [")]
    for option in re.findall(r"`(--[^`]+)`", row):
        parsed = cli.parser().parse_args(["verify", *option.split()])
        assert callable(parsed.command)


def test_every_link_inside_the_repository_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
