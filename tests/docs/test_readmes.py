"""The READMEs are correct: targets exist, options parse, links lead somewhere.

That the lines of the README do what it says is ``end_to_end/test_readme_commands``.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from fake_providers.__main__ import settings_of
from routerspec import cli
from routerspec.promises import (
    Balance,
    Cancel,
    Cap,
    Drain,
    Failover,
    Limits,
    ModelList,
    Promises,
    Reload,
    Retries,
    Silence,
)
from routerspec.records.placeholders import PLACEHOLDERS
from routerspec.targets import read_target

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted(
    {
        path.relative_to(ROOT)
        for pattern in ("*.md", "[!.]*/README.md", "loadtests/**/README.md", ".github/**/*.md")
        for path in ROOT.glob(pattern)
    }
)
WRITING = (ROOT / "loadtests/routerspec/targets/README.md").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def blocks(language: str, text: str = README) -> list[str]:
    return [text for its, text in FENCE.findall(text) if its == language]


COMMANDS = ("routerspec ", "python", "pip ", "locust ")


def command_lines(page: Path) -> list[str]:
    """The commands of its blocks, continued lines joined."""
    text = (ROOT / page).read_text()
    typed = "\n".join(blocks("sh", text) + blocks("", text)).replace("\\\n", " ")
    lines = (line.split(" #")[0].strip() for line in typed.splitlines())
    return [line.split(" > ")[0] for line in lines if line.startswith(COMMANDS)]


LINES = [(page, line) for page in PAGES for line in command_lines(page)]


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
    assert second.rstrip().endswith("pytest -q -n 2")


@pytest.mark.parametrize(
    ("page", "line"), [pytest.param(*one, id=f"{one[0]}: {one[1]}") for one in LINES]
)
def test_every_command_line_is_understood(page: Path, line: str) -> None:
    arguments = shlex.split(line)
    if arguments[0] == "routerspec":
        assert callable(cli.parser().parse_args(arguments[1:]).command)
    elif "fake_providers" in arguments:
        settings_of(arguments[arguments.index("fake_providers") + 1 :])


def test_every_option_of_the_commands_table_is_understood() -> None:
    (row,) = [line for line in README.splitlines() if line.startswith("| `routerspec verify [")]
    for option in re.findall(r"`(--[^`]+)`", row):
        parsed = cli.parser().parse_args(["verify", *option.split()])
        assert callable(parsed.command)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    text = CODE.sub("", (ROOT / page).read_text())
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" not in link:
            name, _, anchor = link.partition("#")
            there = (ROOT / page).parent / name if name else ROOT / page
            assert there.exists(), link
            assert not anchor or anchor in anchors(there), link


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_page_opens_with_what_it_is_for(page: Path) -> None:
    heading, empty, first, *_ = (ROOT / page).read_text().splitlines()
    assert heading.startswith("# ")
    assert empty == ""
    assert re.match(r"[A-Z]", first), "a sentence, not a list or a block"


def test_the_page_on_targets_begins_with_one() -> None:
    (text,) = re.findall(r"(?s)   ```toml\n(.*?)   ```", WRITING)
    target = read_target(re.sub(r"(?m)^   ", "", text), "README.md", "")
    assert target.promises == Promises(cap=Cap(limit=4))


def test_the_page_on_targets_has_every_word_that_a_file_may_say() -> None:
    names = [
        field.name
        for one in (
            *(Cap, ModelList, Cancel, Retries, Failover, Balance, Limits),
            *(Drain, Reload, Silence, Promises),
        )
        for field in fields(one)
    ]
    for word in names:
        assert f"`{word}`" in WRITING, word
    for placeholder in PLACEHOLDERS:
        assert f"{{{placeholder}}}" in WRITING
