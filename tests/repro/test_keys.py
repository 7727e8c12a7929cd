"""A script and a report have no keys: what is not ours comes from the environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from routerspec.processes.router import DEFAULT_KEYS
from routerspec.promises import Promises
from routerspec.records.load_plan import LoadPlan, RoutePlan
from routerspec.records.run import RouterCommand, RunInfo, Settings, StartInfo
from routerspec.repro.script import script_of, settings_of
from routerspec.repro.setup import setup_of
from routerspec.repro.table import REPROS

CHECK = "cap/each-route"
ROUTE = RoutePlan(
    name="openai",
    provider="openai",
    front="openai",
    path="",
    model="m",
    nonsense_model="n",
    modes=("chat",),
    implied=False,
    headers={"X-Api-Key": "key-of-a-route-1"},
)
GENERATED = {"client_key": "rs-client-key-0123abcd", "openai_key": "rs-openai-key-0123abcd"}


def older_run(folder: Path, authorization: str) -> Path:
    """The files of a start, written by a version that had every key in them."""
    start = folder / "starts" / "one"
    start.mkdir(parents=True)
    plan = LoadPlan(
        token="t", folder="", control="", routes=(ROUTE,), list_path="/v1/models",
        promises=Promises(), scenarios=(), seed=1, secrets=GENERATED,
        headers={"Authorization": authorization},
    )  # fmt: skip
    command = RouterCommand(
        command=("router", "--key", "{openai_key}"),
        env={"UPSTREAM_API_KEY": "key-of-a-variable-2"},
        files={"a.yaml": "password: key-of-a-file-33"},
        ready=None,
        values=GENERATED | {"model": "m"},
        install="",
    )
    (start / "plan.json").write_bytes(msgspec.json.encode(plan))
    (start / "router.json").write_bytes(msgspec.json.encode(command))
    return folder


def script(folder: Path) -> str:
    info = msgspec.convert(
        {
            "run": "r", "target": "t", "version": "1", "routerspec": "1", "command": "", "seed": 1,
            "started_at": "", "promises": {}, "routes": [], "selected": "all",
        },
        RunInfo,
    )  # fmt: skip
    settings = Settings(cap=4, models_ttl_s=None)
    start = StartInfo(
        name="one", token="t", attempt=1, settings=settings, scenarios=(), finished=True
    )
    plan, command = setup_of(folder, info, start)
    played = REPROS[CHECK].round
    assert played is not None
    read = settings_of(played, plan, settings, command, {})
    return script_of(played, read, title="t", promised="p", by="1")


def test_a_script_of_an_older_run_has_none_of_its_keys(tmp_path: Path) -> None:
    text = script(older_run(tmp_path, "Bearer key-of-a-client-444"))
    for key in ("key-of-a-", *GENERATED.values()):
        assert key not in text
    assert "'environment': ['AUTHORIZATION" in text
    assert f"'--key', '{DEFAULT_KEYS['openai_key']}'" in text


def test_our_own_keys_are_in_the_script_as_they_are_by_default(tmp_path: Path) -> None:
    text = script(older_run(tmp_path, f"Bearer {GENERATED['client_key']}"))
    assert f"Bearer {DEFAULT_KEYS['client_key']}" in text


def test_a_script_without_its_keys_says_what_to_set(tmp_path: Path) -> None:
    path = tmp_path / "repro.py"
    path.write_text(script(older_run(tmp_path / "run", "Bearer key-of-a-client-444")))
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=False, env={}
    )
    assert done.returncode == 2
    assert "Set AUTHORIZATION" in done.stderr
