"""Which version of a router is installed: the first line of what its command prints."""

from __future__ import annotations

import pytest

from routerspec.processes.router import installed_version
from routerspec.targets import read_target

TARGET = 'name = "small"\n[routes]\nopenai = "{model}"\n'


@pytest.mark.parametrize(
    ("command", "version"),
    [
        ('["sh", "-c", "echo; echo my-router 1.2 >&2; echo more"]', "my-router 1.2"),
        ('["sh", "-c", "echo 1.2; exit 3"]', "unknown"),
        ('["no-such-router-anywhere", "--version"]', "unknown"),
    ],
)
def test_the_first_line_that_the_command_prints_is_the_version(command: str, version: str) -> None:
    target = read_target(f"version = {{ command = {command} }}\n{TARGET}", "v.toml")
    assert installed_version(target) == version


def test_without_a_command_the_version_is_unknown() -> None:
    assert installed_version(read_target(TARGET, "small.toml")) == "unknown"
