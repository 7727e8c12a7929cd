"""Two instances of a provider whose clocks cannot be compared: the cap over both is proved all the
same, by what both held, and nothing else is said of their times."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from routerspec.processes.own_code import CONTROL_VARIABLE
from tests.support import cli, hosts

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


def test_a_cap_over_two_hosts(tmp_path: Path) -> None:
    if reason := hosts.unavailable():
        pytest.skip(f"no two namespaces: {reason}")
    (tmp_path / "hosts.toml").write_text(TARGET, encoding="utf-8")
    here, there = hosts.Host(name="here"), hosts.Host(name="there", ahead_s=86_400)
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(hosts.network(here, there))
        here, there = network["here"], network["there"]
        controls = [
            stack.enter_context(hosts.fakes(here, tmp_path)),
            stack.enter_context(hosts.fakes(there, tmp_path, instance=2, port=8011, control=8012)),
        ]
        providers = [f"http://{here.address}:8001", f"http://{there.address}:8011"]
        settings = {
            "ROUTER_OPENAI_URL": ",".join(providers),
            "ROUTER_MAX_CONCURRENCY": "4",
            "ROUTER_BALANCE": "round-robin",
        }
        url = stack.enter_context(hosts.router(here, tmp_path, env=settings))
        ran = cli.ran(
            here.python(
                *("-m", "routerspec", "verify", "hosts.toml", "--url", url, "--allow-remote"),
                *("--fakes", ",".join(controls), "--format", "json"),
                *("--only", "cap/each-route,answers/incremental"),
            ),
            cwd=tmp_path,
            env={CONTROL_VARIABLE: hosts.TOKEN},
        )
    assert ran.outcomes == {"cap/each-route": "violated", "answers/incremental": "inconclusive"}, (
        ran.err
    )
    over, pieces = ran.verdict["checks"]
    lines = [fact for fact in over["witness"]["facts"] if fact.startswith("fake ")]
    assert [line.split()[1] for line in lines] == ["openai", "openai", "openai-2"]
    assert "by a clock of its own" in lines[-1]
    assert pieces["reason"].startswith("openai-2 has a clock of its own")
