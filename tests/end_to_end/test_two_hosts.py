"""Two instances of a provider whose clocks cannot be compared: the cap over both is proved all the
same, by what both held, and nothing else is said of their times."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import cli

ROOT = Path(__file__).parents[2]
TARGET = """
name = "hosts"

[providers.openai]
instances = 2

[routes.openai]
model = "openai/{model}"
modes = ["chat", "stream"]

[promises]
cap = { limit = 2, overload = "queue" }
"""


def unavailable() -> str:
    """Why there can be no two namespaces here; empty: there can."""
    if missing := [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]:
        return f"{missing[0]} is not installed"
    wired = "ip link add here type veth peer name there"
    command = ["unshare", "--net", "--time", "--fork", "sh", "-c", wired]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


def test_a_cap_over_two_hosts(tmp_path: Path) -> None:
    if reason := unavailable():
        pytest.skip(f"no two namespaces: {reason}")
    (tmp_path / "hosts.toml").write_text(TARGET, encoding="utf-8")
    inside = ["unshare", "--net", sys.executable, "-P", "-m", "tests.support.two_hosts"]
    router_cap = "4"
    checks = ("--only", "cap/each-route,answers/incremental", "--format", "json")
    ran = cli.ran(
        ["env", f"PYTHONPATH={ROOT}", *inside, str(tmp_path), router_cap, "hosts.toml", *checks],
        cwd=tmp_path,
    )
    assert ran.outcomes == {"cap/each-route": "violated", "answers/incremental": "inconclusive"}, (
        ran.err
    )
    over, pieces = ran.verdict["checks"]
    lines = [fact for fact in over["witness"]["facts"] if fact.startswith("fake ")]
    assert [line.split()[1] for line in lines] == ["openai", "openai", "openai-2"]
    assert "by a clock of its own" in lines[-1]
    assert pieces["reason"].startswith("openai-2 has a clock of its own")
