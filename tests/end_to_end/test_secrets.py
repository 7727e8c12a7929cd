"""No key that a run is given is in any file or output that it leaves."""

from __future__ import annotations

import json
import lzma
import re
import shutil
import stat
import sys
from pathlib import Path

import pytest

from tests.routers import echoing
from tests.support.cli import Ran, routerspec

CANARIES = {
    "client": "canary-CLIENT-4f1d0a",
    "header": "canary-HEADER-77aa31",
    "route header": "canary-ROUTE-0b0b12",
    "variable": "canary-VARIABLE-9e8d",
    "file": "canary-FILE-55c0ffee",
    "argument": "canary-ARGUMENT-1234",
    "address": "canary-ADDRESS-8080",
}
TARGET = """
name = "echoing"

[start]
command = {command}
env = {{ UPSTREAM_API_KEY = "{variable}", PROXY = "http://user:{address}@proxy.test" }}
ready = "/health"

[start.files]
"config.yaml" = "master_key: {file}\\nclient: {client} {{client_key}} {{openai_key}}"

[client]
key = "{client}"

[client.headers]
X-Tenant-Key = "{header}"

[routes.openai]
model = "{{model}}"
modes = ["chat", "stream"]
headers = {{ X-Route = "{route header}" }}

[promises]
cap = {{ limit = 2, scope = "global", overload = "queue" }}
"""
GENERATED = re.compile(r"rs-(?:client|openai|ollama)-key-[0-9a-f]{16}")
"""The keys that are made anew for each run."""


def test_no_key_is_left_in_any_file_or_output(tmp_path: Path) -> None:
    script = str(Path(echoing.__file__).resolve())
    command = [
        sys.executable, "-P", script, "{port}", "{openai_url}", "{dir}",
        "{openai_key}", "--api-key", CANARIES["argument"],
    ]  # fmt: skip
    target = TARGET.format(command=json.dumps(command), **CANARIES)
    (tmp_path / "echoing.toml").write_text(target, encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    said = [
        routerspec(
            *("verify", "../echoing.toml", "--only", "cap/streams", "--verbose"),
            *("--html", "a.html", "--junit", "a.xml", "--markdown", "a.md"),
            cwd=work,
        )
    ]
    assert said[0].status == 1, said[0]
    (run,) = (work / ".routerspec/runs").iterdir()
    said.append(_published(run, work))
    said.append(routerspec("repro", str(run), "cap/streams", cwd=work))
    said.append(routerspec("smoke", "../echoing.toml", cwd=work))
    _refuse_keys(work, said)
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    plan = next(run.glob("starts/*/plan.json"))
    assert stat.S_IMODE(plan.stat().st_mode) == 0o600
    script_text = (run / "repro/cap--streams/repro.py").read_text(encoding="utf-8")
    assert "<ROUTER_KEY>" in script_text
    assert "<UPSTREAM_API_KEY>" in script_text


def _published(run: Path, work: Path) -> Ran:
    """Publish the run; three are needed, so two copies of it pass for others."""
    made = []
    for number in range(3):
        copy = shutil.copytree(run, work / f"copies/{number}")
        info = json.loads((copy / "run.json").read_text())
        (copy / "run.json").write_text(json.dumps(info | {"run": f"{info['run']}{number}"}))
        made.append(str(copy))
    ran = routerspec("publish", "--as-version", "1.0", *made, cwd=work)
    assert ran.status == 0, ran
    published = work / "reports/echoing/1.0"
    seen = "".join(map(_text, published.rglob("observations.jsonl.xz")))
    assert "<UPSTREAM_API_KEY>" in seen, "the router's answers had it, and others"
    return ran


def test_a_key_on_the_command_line_is_left_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router that is not there: the shortest run."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    said = routerspec(
        *("verify", "--url", "http://127.0.0.1:9", "--cap", "4", "--ports", "0,0,0"),
        *("--key", CANARIES["client"]),
        cwd=tmp_path,
    )
    assert said.status == 4
    _refuse_keys(tmp_path, [said])
    (run,) = (tmp_path / ".routerspec/runs").iterdir()
    assert "--key <key>" in json.loads((run / "run.json").read_text())["command"]


def _refuse_keys(folder: Path, said: list[Ran]) -> None:
    texts = {f"command {number}": each.out + each.err for number, each in enumerate(said)}
    for path in folder.rglob("*"):
        if path.is_file():
            texts[str(path)] = _text(path)
    assert len(texts) > len(said)
    for where, text in texts.items():
        for name, canary in CANARIES.items():
            assert canary not in text, f"the key of the {name} is in {where}"
        assert not GENERATED.search(text), where


def _text(path: Path) -> str:
    raw = path.read_bytes()
    return (lzma.decompress(raw) if path.suffix == ".xz" else raw).decode(errors="replace")
