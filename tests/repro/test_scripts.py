"""The scripts of `routerspec repro`: each reproduces its flaws, none accuses the sound router."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reference_router.flaws import FLAWS
from routerspec.checks import REGISTRY
from routerspec.checks.replicas import CHECKS as REPLICAS
from routerspec.repro.table import REPROS
from routerspec.verdict import Kind
from tests.repro.scripts import play, written

PLAYED = [check for check, repro in REPROS.items() if repro.round]
FLAWED = [(flaw.name, check) for flaw in FLAWS.values() for check in flaw.trips]
SEVERAL = ("failover/", "balance/", "breaker/")
"""Families of checks that the plain router, with one server of each provider, does not exercise."""
VARIANTS = {
    "cap/attempts": "retrying",
    "answers/attempts": "retrying",
    "answers/no-replay": "retrying",
    "cap/replicas": "workers",
    "overload/answer": "bounded",
    "overload/retry-after": "rejecting",
    "overload/json-error": "rejecting",
    "request/retry": "retrying",
    "cap/count-tokens": "agents",
    **{check.id: "cluster" for check in REPLICAS if check.id != "cap/replicas"},
    **{check: "resilient" for check in REPROS if check.startswith((*SEVERAL, "limits/"))},
}
"""Check -> the sound variant that it is tried on as well."""
NOT_EXERCISED = {
    "cap/attempts", "cap/count-tokens", "request/retry", "overload/retry-after",
    "overload/json-error",
    *(check for check in REPROS if check.startswith(SEVERAL)),
    *(check.id for check in REPLICAS if check.id != "cap/replicas"),
}  # fmt: skip
"""On the router as it is, which neither retries nor refuses, and counts no tokens."""


def test_the_table_has_every_check() -> None:
    assert set(REPROS) == set(REGISTRY)


def test_every_check_that_can_be_violated_has_a_round() -> None:
    judged = {check.id for check in REGISTRY.values() if check.kind is not Kind.OBSERVE}
    assert set(PLAYED) == judged


def test_scripts_define_every_name_that_they_use_and_use_every_import(tmp_path: Path) -> None:
    for check in PLAYED:
        source = written(check)
        assert "routerspec.repro" not in source
        (tmp_path / f"{check.replace('/', '--')}.py").write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F,E9", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("flaw", ["permit-freed-at-head", ""])
def test_a_rag_route_gets_its_embeddings(flaw: str, tmp_path: Path) -> None:
    source = written("cap/streams", flaw, numbers={"rag:stream": 9})
    assert source.count("'route': ") == 1
    _play_source(source, int(bool(flaw)), tmp_path)


@pytest.mark.parametrize("flaw", ["models-leader-hang-up", ""])
def test_a_light_one_is_played(flaw: str, tmp_path: Path) -> None:
    _play("models/leader-hang-up", flaw, "", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("flaw", "check"), FLAWED)
def test_a_script_sees_its_flaw(flaw: str, check: str, tmp_path: Path) -> None:
    _play(check, flaw, "", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("check", [c for c in PLAYED if REPROS[c].promise != "limits"])
def test_a_script_does_not_accuse_the_sound_router(check: str, tmp_path: Path) -> None:
    _play_source(written(check), 2 if check in NOT_EXERCISED else 0, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("check", "variant"), VARIANTS.items())
def test_a_script_does_not_accuse_a_sound_router_of_another_kind(
    check: str, variant: str, tmp_path: Path
) -> None:
    _play(check, "", variant, tmp_path)


@pytest.mark.slow
def test_a_queue_that_never_advances_is_found(tmp_path: Path) -> None:
    polling = str(Path(__file__).parents[1] / "routers" / "slow_handover.py")
    script = tmp_path / "repro.py"
    command = ("python", polling, "--port", "{port}")
    script.write_text(written("slots/handover", command=command), encoding="utf-8")
    done = play(script)
    assert done.returncode == 1, done.stdout + done.stderr


def _play(check: str, flaw: str, variant: str, folder: Path) -> None:
    _play_source(written(check, flaw, variant), int(bool(flaw)), folder)


def _play_source(source: str, status: int, folder: Path) -> None:
    """Rare violations are tried for where there is one, and once where there is none."""
    script = folder / "repro.py"
    script.write_text(source, encoding="utf-8")
    done = play(script, for_s=None if status == 1 else 0)
    assert done.returncode == status, done.stdout + done.stderr
