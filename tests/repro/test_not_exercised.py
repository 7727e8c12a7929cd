"""Rounds of `routerspec repro` whose situation does not come about: neither reproduced nor not."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from routerspec.plan.starts import route_plans
from routerspec.processes.router import DEFAULT_KEYS
from routerspec.records.load_plan import LoadPlan
from routerspec.repro.kit.lab import Lab, NotExercisedError
from routerspec.repro.script import settings_of
from routerspec.repro.table import REPROS
from routerspec.targets import load_target
from tests.repro.scripts import settings_for, written

PLAYED = [check for check, repro in REPROS.items() if repro.round]
RESILIENT = {"failover", "balance", "breaker", "limits", "drain", "reload", "silence"}
ANSWERS = {"refuses": 500, "answers without its providers": 200}


@contextmanager
def router(status: int) -> Iterator[str]:
    """One that answers every request at once, and never sends a request of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer()

        def _answer(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 512

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def played(check: str, url: str) -> str:
    """Why the round was not exercised; otherwise what it returned."""
    family = check.partition("/")[0]
    target = load_target("reference:resilient" if family in RESILIENT else "reference")
    plan = LoadPlan(
        token="abcdef",
        folder="",
        control="",
        routes=route_plans(target, DEFAULT_KEYS),
        headers={},
        list_path=target.list_path,
        promises=target.promises,
        scenarios=(),
        seed=1,
        secrets=DEFAULT_KEYS,
    )
    round_ = REPROS[check].round
    assert round_ is not None
    settings = settings_of(round_, plan, settings_for(check), None, {})
    cells = settings["cells"][-2:]
    ports = dict.fromkeys(settings["ports"], 0)
    with Lab(settings | {"url": url, "ports": ports, "cells": cells}) as lab:
        try:
            return f"returned {round_.play(lab, **round_.parameters)}"
        except NotExercisedError as error:
            return f"not exercised: {error}"


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, str], str]:
    """All rounds against both routers, side by side: they mostly wait."""
    with router(500) as refusing, router(200) as answering:
        urls = dict(zip(ANSWERS, (refusing, answering), strict=True))
        jobs = [(check, how) for check in PLAYED for how in urls]
        with ThreadPoolExecutor(len(jobs)) as pool:
            found = pool.map(lambda job: played(job[0], urls[job[1]]), jobs)
            return dict(zip(jobs, found, strict=True))


@pytest.mark.parametrize("how", ANSWERS)
@pytest.mark.parametrize("check", PLAYED)
def test_a_round_without_a_call_is_not_exercised(
    check: str, how: str, outcomes: dict[tuple[str, str], str]
) -> None:
    assert outcomes[check, how].startswith("not exercised: ")


def test_a_script_that_could_not_be_tried_exits_with_2_and_the_reason(tmp_path: Path) -> None:
    script = tmp_path / "repro.py"
    idle = "import http.server, sys; from functools import partial; "
    idle += "http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]))"
    source = written("models/cached", command=("python", "-c", idle, "{port}"))
    script.write_text(source.replace("'ready': '/health'", "'ready': '/'"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Could not be tried: The router did not fetch a list" in done.stderr
    assert "Not reproduced" not in done.stdout
