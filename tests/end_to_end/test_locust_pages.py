"""Locust's own pages during a run, and the verdict on a run that is still going on."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from fake_providers.records.evidence import Evidence, Footer
from routerspec.judge.judge import judge
from routerspec.processes.control import InFlight, Level, Lists, Now
from routerspec.processes.ports import free_port
from routerspec.records.run import StartInfo, read_run
from routerspec.scenarios.locust import live_verdict, web_tab
from tests.support import http
from tests.support.lab import lab
from tests.support.signals import default_signals

HISTORIES = Path(__file__).parents[1] / "corpus" / "histories"
BAD = HISTORIES / "bad" / "cap--under-load"


def lists(fetches: int) -> Lists:
    return Lists(fetches=fetches, open=1, held=0, answered=2, last_answered_ns=None, epoch=0)


NOW = Now(
    at_ns=1,
    arrived={"openai": 9},
    last_arrival_ns=None,
    open={"openai": 3, "ollama": 2},
    in_flight=InFlight(all=Level(now=5, peak=7)),
    held=(),
    lists={"openai": lists(3)},
    stalled_ns=0,
)
VIOLATED = {
    "id": "cap/under-load",
    "outcome": "violated",
    "summary": "6 at once, cap 4",
    "reason": "",
    "witness": {"sentence": "The cap is 4 & <6> were open."},
}
HELD = {"id": "answers/own", "outcome": "held", "summary": "", "reason": "", "witness": None}


def test_the_live_rows_stand_beside_what_is_promised() -> None:
    rows = {row["what"]: row for row in web_tab.live_rows(NOW, 4, 2.0)}
    assert rows["calls in flight"] == {
        "what": "calls in flight",
        "now": "5",
        "promised": "at most 4",
    }
    assert rows["peak in flight, to their last byte"]["now"] == "7"
    assert rows["model-list fetches, openai"]["now"] == "3, 1 open"
    assert rows["model-list fetches, openai"]["promised"] == "one per 2 s"
    assert {row["promised"] for row in web_tab.live_rows(NOW, None, None)} == {""}


def test_what_is_violated_comes_first_and_what_went_wrong_is_no_good_news() -> None:
    first, last = web_tab.check_rows([HELD, VIOLATED], "12:00:01")
    assert (first["what"], first["now"]) == ("cap/under-load", "VIOLATED: 6 at once, cap 4")
    assert last["now"] == "1 violated, at 12:00:01"
    fault = {**HELD, "outcome": "harness error", "reason": "no footer"}
    assert web_tab.check_rows([fault], "12:00:01")[0]["now"] == "no footer, at 12:00:01"
    assert web_tab.check_rows([], "")[0]["now"] == "not judged yet"


def test_the_section_escapes_and_stands_within_the_body() -> None:
    section = web_tab.report_section([VIOLATED, HELD], "runs/<one>")
    assert "4 &amp; &lt;6&gt; were open" in section
    assert "runs/&lt;one&gt;" in section
    page = web_tab.with_section("<body>a</body></html>", section)
    assert page.index("</body>") > page.index('id="routerspec"')
    assert web_tab.with_section("no body", section) == "no body" + section


def test_a_run_that_goes_on_is_judged_by_what_it_has(tmp_path: Path) -> None:
    """Both files cut off in the midst of a line, the last round without its end."""
    run = tmp_path / "run"
    shutil.copytree(BAD, run)
    (start,) = (run / "starts").iterdir()
    info = msgspec.json.decode((start / "start.json").read_bytes(), type=StartInfo)
    info = msgspec.structs.replace(info, finished=False)
    (start / "start.json").write_bytes(msgspec.json.encode(info))
    for name, close in (
        ("evidence", live_verdict.closed_evidence),
        ("observations", lambda begun: live_verdict.closed(begun, {})),
    ):
        lines = (start / f"{name}.jsonl").read_bytes().splitlines(keepends=True)
        ends = [line for line in lines if b'"round_end"' in line]
        begun = [line for line in lines[:-1] if line not in ends]
        (start / f"{name}.jsonl").write_bytes(close(b"".join(begun) + b'{"kind":"ca'))
    checks = {check.id: check.outcome.value for check in judge(read_run(run)).checks}
    assert checks["cap/under-load"] == "violated"
    assert not {"harness error"} & set(checks.values())


def test_the_account_of_a_copy_is_that_of_its_records() -> None:
    (start,) = (BAD / "starts").iterdir()
    whole = (start / "evidence.jsonl").read_bytes()
    kept = b"".join(whole.splitlines(keepends=True)[:-1])
    closed = live_verdict.closed_evidence(kept)
    ours, theirs = (
        msgspec.json.decode(text.splitlines()[-1], type=Evidence) for text in (closed, whole)
    )
    assert isinstance(ours, Footer)
    assert isinstance(theirs, Footer)
    assert ours.records == theirs.records
    assert ours.account == theirs.account


@pytest.mark.parametrize("output", [b"", b"not JSON"])
def test_a_judge_that_says_nothing_is_no_verdict(
    output: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/echo" if output else "/bin/true")
    assert live_verdict.judged(tmp_path) is None


@pytest.mark.slow
def test_the_tab_shows_a_violation_while_the_test_goes_on(tmp_path: Path) -> None:
    """The line that the lab prints for a browser, with a flawed router behind it."""
    with lab(tmp_path, "--flaw", "provider-outside-cap") as printed:
        port = free_port()
        command = [*printed["browser"].split(), "--web-port", str(port)]
        with default_signals():
            child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: http.get(url).status_code == 200)
            host = command[command.index("--host") + 1]
            http.post(f"{url}/swarm", data={"user_count": 24, "spawn_rate": 24, "host": host})
            wait_for(lambda: any("VIOLATED" in row["now"] for row in rows(url)), 60)
            assert "extended_tabs" in http.get(url).text
            http.post(f"{url}/stop")
            wait_for(lambda: 'id="routerspec"' in http.get(f"{url}/stats/report").text)
        finally:
            child.send_signal(signal.SIGINT)
            assert child.wait(30) == 1


def rows(url: str) -> list[dict[str, str]]:
    stats = http.get(f"{url}/stats/requests").json()["extended_stats"]
    found: list[dict[str, str]] = next(its["data"] for its in stats if its["key"] == web_tab.KEY)
    return found


def wait_for(so: Callable[[], bool], within_s: float = 20) -> None:
    give_up = time.monotonic() + within_s
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if so():
                return
        assert time.monotonic() < give_up
        time.sleep(0.2)
