"""`routerspec bench`, with real processes."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from routerspec.bench.processor_time import Trees, Usage
from routerspec.processes.child import Child
from tests.support.cli import routerspec


def test_a_router_beside_the_baselines(tmp_path: Path) -> None:
    done = routerspec(
        "bench", "reference:rejecting", "--rounds", "1", "--seed", "3",
        "--format", "json", cwd=tmp_path,
    )  # fmt: skip
    assert done.status == 0, done.err
    document = json.loads(done.out)
    rows = {row["name"]: row for row in document["rows"]}
    yardstick = ["nginx-plain"] if shutil.which("nginx") else []
    assert list(rows) == ["direct", "reference:rejecting", *yardstick]
    for name, row in rows.items():
        assert row["unanswered"] == 0, done.err
        assert set(row["kept_per_s"]) == {"1", "32", "128"}
        assert set(row["per_s"]) == {"32"}
        assert row["answer_ms"]["50"]["samples"] >= 10
        assert row["first_ms"]["50"]["samples"] >= 5
        if name != "direct":
            assert row["peak_mb"] >= row["idle_mb"] > 0
            assert row["cpu_ms"] > 0
            assert set(row["kept_per_s"]["32"]["busy"]) == {"load", "fakes", "router", "machine"}
    # A Python router that parses every request costs more than the direct route: no figure of a
    # machine, only that the difference has its sign.
    assert rows["reference:rejecting"]["answer_ms"]["50"]["value"] > 0
    assert (document["seed"], document["rounds"]) == (3, 1)


def test_a_router_that_does_not_answer_is_named(tmp_path: Path) -> None:
    target = tmp_path / "deaf.toml"
    target.write_text(
        'name = "deaf"\n[start]\ncommand = ["python3", "-m", "http.server", "{port}", '
        '"--bind", "127.0.0.1"]\n[routes]\nopenai = "{model}"\n'
    )
    done = routerspec("bench", str(target), "--rounds", "1", cwd=tmp_path)
    assert done.status == 4
    assert "deaf: a chat request on route openai was refused with status 501" in done.err


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["reference", "reference"], "listed twice"),
        (["reference", "--rounds", "0"], "at least 1"),
        (["no-such-router"], "There is no target"),
    ],
)
def test_what_cannot_be_measured_is_reported(
    options: list[str], error: str, tmp_path: Path
) -> None:
    done = routerspec("bench", *options, cwd=tmp_path)
    assert done.status == 2
    assert error in done.err


def test_processor_time_and_memory_are_those_of_a_whole_process_tree(tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "os.fork()\n"
        "held = bytearray(40_000_000)\n"
        "until = time.process_time() + 0.3\n"
        "while time.process_time() < until: pass\n"
        "time.sleep(60)\n"
    )
    child = Child([sys.executable, "-c", code], env=dict(os.environ), log=tmp_path / "log")
    try:
        deadline = time.monotonic() + 30
        trees = Trees({"it": [child.pid]})
        first = last = trees.read(with_new=True)
        while last.cpu_s["it"] < 0.6 and time.monotonic() < deadline:
            time.sleep(0.05)
            last = trees.read(with_new=True)
    finally:
        child.stop()
    assert last.cpu_s["it"] >= 0.6
    assert last.rss_bytes["it"] > 80_000_000
    used = Usage.between(first, last)
    assert used.share("machine") >= 0
    assert 0 < used.busiest["it"] <= 1
