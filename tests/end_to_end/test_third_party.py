"""Third-party routers, started by their target files, and their known violations.

Those of Debian are looked at where they are installed; those of PyPI and npm take a while, and are
slow. What each keeps in full is published in ``reports/``.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.cli import routerspec

PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"))
CAP = {"cap/each-route": "held", "slots/reached": "held"}
COLD = {"models/one-fetch-cold": "held"}
QUEUED = "cancel/queued-stays-home"
ON_EXPIRY = "models/one-fetch-on-expiry"


def needs(program: str) -> None:
    if not shutil.which(program, path=PATH):
        pytest.skip(f"{program} is not installed: `routerspec targets` says how to get it")


@pytest.mark.parametrize(
    ("target", "program", "expected"),
    [
        pytest.param(
            "nginx:locked",
            "nginx",
            {**CAP, **COLD, ON_EXPIRY: "violated"},
            marks=pytest.mark.slow,
        ),
        ("nginx:stale", "nginx", {**CAP, **COLD, ON_EXPIRY: "held"}),
        # Varnish looks at its cap and counts in two steps: whether a run sees it broken is chance.
        pytest.param("varnish", "varnishd", {**COLD, ON_EXPIRY: "held"}, marks=pytest.mark.slow),
    ],
)
def test_a_cap_that_refuses_and_a_cached_list(
    target: str,
    program: str,
    expected: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs(program)
    monkeypatch.setenv("PATH", PATH)
    options = ("--only", ",".join(expected), "--format", "json")
    got = routerspec("verify", target, *options, cwd=tmp_path)
    assert got.outcomes == expected
    assert got.status == 0, "what is known does not count"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "expected"),
    [("caddy", {QUEUED: "violated", **CAP}), ("caddy:buffered", {QUEUED: "held", **CAP})],
)
def test_a_queue_that_is_left_once_bodies_are_read(
    target: str, expected: dict[str, str], tmp_path: Path
) -> None:
    needs("caddy")
    got = routerspec(
        "verify", target, "--only", ",".join(expected), "--format", "json", cwd=tmp_path
    )
    assert got.outcomes == expected
    assert got.status == 0, "what is known does not count"


def test_a_cap_that_queues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("haproxy")
    monkeypatch.setenv("PATH", PATH)
    options = ("--only", "cap/streams,slots/reached", "--format", "json")
    got = routerspec("verify", "haproxy", *options, cwd=tmp_path)
    assert got.outcomes == {"cap/streams": "held", "slots/reached": "held"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "program"),
    [
        ("smg", "smg"),
        ("vllm-router", "vllm-router"),
        ("portkey", "portkey-gateway"),
        ("litellm", "litellm"),
        ("litellm:global", "litellm"),
    ],
)
def test_a_router_of_a_registry_passes_smoke(target: str, program: str, tmp_path: Path) -> None:
    needs(program)
    got = routerspec("smoke", target, cwd=tmp_path)
    assert got.status == 0, got.out + got.err
    assert "smoke passed" in got.out
