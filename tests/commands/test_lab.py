"""What ``routerspec lab`` prints: what listens where, and commands of clients for each front."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from routerspec.commands.lab import _servers
from routerspec.commands.lab_clients import client_lines
from routerspec.processes.handles import Fakes, Router
from routerspec.targets import Target, load_target, read_target

ROUTER = Router(child=None, log=Path(), url="http://127.0.0.1:4000")


def lines(target: Target) -> list[str]:
    return [line.strip() for line in client_lines(target, ROUTER)]


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:3"])
def test_the_anthropic_fake_is_named_where_it_is_served(url: str | None) -> None:
    fakes = Fakes(
        child=None,
        log=Path(),
        openai_url="http://127.0.0.1:1",
        ollama_url="http://127.0.0.1:2",
        anthropic_url=url,
        control_url="http://127.0.0.1:4",
        ledger=Path(),
    )
    printed = "\n".join(_servers(fakes, ROUTER))
    assert ("anthropic  http://127.0.0.1:3" in printed) == bool(url)
    assert printed.startswith("router     http://127.0.0.1:4000\n")


def test_each_front_has_the_commands_of_its_clients() -> None:
    printed = "\n".join(lines(load_target("reference:agents")))
    anthropic = "ANTHROPIC_BASE_URL=http://127.0.0.1:4000 ANTHROPIC_API_KEY=rs-client-key"
    assert f"{anthropic} claude --model anthropic/fake-chat -p hello" in printed
    assert "OPENAI_BASE_URL=http://127.0.0.1:4000/v1 OPENAI_API_KEY=rs-client-key" in printed
    assert 'responses.create(model="openai/fake-chat", input="hello")' in printed
    assert "Claude Code" not in "\n".join(lines(load_target("reference")))


@pytest.mark.parametrize("front", ["openai", "ollama", "anthropic", "responses"])
def test_a_command_is_one_line_of_whole_words_whatever_the_model_is_called(front: str) -> None:
    text = f"""
name = "odd"
[client]
key = "none"
[routes.odd]
model = '''it's "$(touch x)"/{{model}}'''
front = "{front}"
path = "/base"
"""
    for line in lines(read_target(text, "odd.toml"))[2:]:
        *words, last = shlex.split(line)
        assert not any("touch" in word for word in words if word.startswith("OPENAI_"))
        code = last if "-c" in words else ""
        assert any("$(touch x)" in word for word in (*words, last))
        assert "http://127.0.0.1:4000/base" in " ".join(words)
        if code:
            compile(code, "printed", "exec")
