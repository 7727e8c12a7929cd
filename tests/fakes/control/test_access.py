"""Who may use the control API, and what the evidence says of those who may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.__main__ import settings_of
from fake_providers.calls.recorder import MAX_REFUSED, Recorder
from fake_providers.control.access import Access
from fake_providers.control.routes import Rejected, Route
from fake_providers.http.request import HttpRequest
from fake_providers.records.clock import Clock
from fake_providers.records.evidence import ControlCall, Evidence
from fake_providers.records.ledger import Ledger, read_records
from tests.support import http

TOKEN = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access") / "evidence.jsonl"


@pytest.fixture(scope="module")
def fakes(ledger: Path) -> Iterator[Fakes]:
    with fake_providers.running(ledger=ledger, run="k3", control_token=TOKEN) as running:
        yield running


def control_calls(path: Path) -> list[ControlCall]:
    read = read_records(path, Evidence)
    return [record for record in read.records if isinstance(record, ControlCall)]


def asked(fakes: Fakes, method: str, path: str, **headers: str) -> httpx.Response:
    return httpx.request(
        method, fakes.control_url + path, headers=headers, json={"epoch": 7}, verify=False
    )


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer 0123456789abcdee"}, {"Authorization": f"Basic {TOKEN}"}],
    ids=["none", "another", "another scheme"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/control/lists"),
        ("POST", "/control/reset"),
        ("POST", "/control/gates/default/open"),
        ("DELETE", "/control/canaries"),
        ("GET", "/control/now"),
        ("GET", "/control/ledger"),
        ("GET", "/control/behaviours"),
    ],
)
def test_without_the_token_nothing_is_done(
    fakes: Fakes, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = asked(fakes, method, path, **headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "--control-token" in answer.json()["detail"]
    now = http.get(fakes.control_url + "/control/now", headers=BEARER).json()
    assert now["lists"]["openai"]["epoch"] == 0


@pytest.mark.parametrize("path", ["/metrics", "/control/health", "/docs", "/openapi.json"])
def test_what_reveals_nothing_of_a_run_needs_no_token(fakes: Fakes, path: str) -> None:
    assert http.get(fakes.control_url + path).status_code == 200


@pytest.mark.parametrize(
    "foreign",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}],
    ids=["rebound", "cross-origin", "sandboxed"],
)
@pytest.mark.parametrize("path", ["/control/lists", "/metrics"])
def test_a_page_in_a_browser_is_refused_even_with_the_token(
    fakes: Fakes, path: str, foreign: dict[str, str]
) -> None:
    answer = asked(fakes, "POST", path, **BEARER, **foreign)
    assert answer.status_code == 403
    assert answer.json()["detail"]
    now = http.get(fakes.control_url + "/control/now", headers=BEARER).json()
    assert now["lists"]["openai"]["epoch"] == 0


def test_the_page_of_the_api_itself_is_no_foreign_one(fakes: Fakes) -> None:
    answer = asked(fakes, "POST", "/control/default", **BEARER, Origin=fakes.control_url)
    assert answer.status_code == 422  # the body is another route's


def test_the_evidence_has_every_change_and_every_refusal(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    with fake_providers.running(ledger=path, control_token=TOKEN) as own:
        asked(own, "POST", "/control/lists", **BEARER)
        asked(own, "GET", "/control/now", **BEARER)
        asked(own, "POST", "/control/default", **BEARER)  # 422: it changes nothing
        asked(own, "POST", "/control/lists")
        asked(own, "POST", "/control/lists", **BEARER, Host="evil.example")
        asked(own, "POST", "/control/lists", **BEARER, Origin="http://evil.example")
    read = read_records(path, Evidence)
    assert read.fault == ""
    assert [(c.method, c.path, c.status, c.refused) for c in control_calls(path)] == [
        ("POST", "/control/lists", 200, ""),
        ("POST", "/control/lists", 401, "token"),
        ("POST", "/control/lists", 403, "host"),
        ("POST", "/control/lists", 403, "origin"),
    ]
    assert read.footer is not None
    assert read.footer.account["control_changes"] == 1
    assert read.footer.account["control_refused"] == 3


def test_a_flood_of_refusals_is_counted_and_not_recorded_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    ledger = Ledger(path, role="evidence", run="k3")
    recorder = Recorder(ledger=ledger, clock=Clock(), on_ledger_error=pytest.fail)
    refused = ControlCall(at_ns=1, method="GET", path="/", status=401, refused="token")
    for _ in range(MAX_REFUSED + 50):
        recorder.record_control(refused)
    recorder.close()
    footer = read_records(path, Evidence).footer
    assert footer is not None
    assert len(control_calls(path)) == MAX_REFUSED
    assert footer.account["control_refused"] == MAX_REFUSED + 50


def request(**headers: str) -> HttpRequest:
    return HttpRequest(
        method="POST",
        target=b"/control/reset",
        version="1.1",
        headers=[(name.lower().encode(), value.encode()) for name, value in headers.items()],
        body=b"",
        keep_alive=True,
        accepted_ns=0,
    )


ROUTE = Route(
    method="POST",
    path="/control/reset",
    summary="",
    handle=lambda _: pytest.fail("it ran"),
)


@pytest.mark.parametrize(
    ("listens_on", "host", "refused"),
    [
        ("127.0.0.1", "127.0.0.1:8002", False),
        ("127.0.0.1", "localhost", False),
        ("127.0.0.1", "evil.example", True),
        ("::1", "[::1]:8002", False),
        ("0.0.0.0", "fakes.example.org:8002", False),
    ],
)
def test_hosts(listens_on: str, host: str, refused: bool) -> None:
    access = Access(TOKEN, listens_on)
    if refused:
        with pytest.raises(Rejected):
            access.check_headers(request(Host=host))
    else:
        access.check_headers(request(Host=host))


def test_without_a_token_of_its_own_it_needs_none() -> None:
    Access("", "127.0.0.1").check_token(request(), ROUTE)


def test_the_token_of_the_command_line() -> None:
    assert settings_of(["--control-token", "none"]).control_token == ""
    assert settings_of(["--control-token", TOKEN]).control_token == TOKEN
    first, second = settings_of([]), settings_of([])
    assert len(first.control_token) == 32
    assert first.control_token != second.control_token
    assert TOKEN not in repr(settings_of(["--control-token", TOKEN]))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "fakes.example"])
def test_other_machines_never_reach_a_control_api_without_a_token(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        settings_of(["--host", host, "--control-token", "none"])
    assert exited.value.code == 2
    assert "other machines can reach" in capsys.readouterr().err
    assert settings_of(["--host", host]).control_token
    assert settings_of(["--host", host, "--control-token", TOKEN]).control_token == TOKEN


@pytest.mark.parametrize("token", ["", "short", "with space in it", "x" * 201])
def test_a_token_that_no_header_can_carry_is_a_usage_error(
    token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        settings_of(["--control-token", token])
    assert "8 to 200 letters" in capsys.readouterr().err


def test_the_token_is_in_no_command_line_and_no_environment(fakes: Fakes) -> None:
    for name in ("cmdline", "environ"):
        assert TOKEN.encode() not in Path(f"/proc/{fakes.pid}/{name}").read_bytes()


def test_the_providers_do_not_reveal_the_control_api(fakes: Fakes) -> None:
    port = fakes.control_url.rsplit(":", 1)[1]
    answers: list[Any] = [
        http.get(url + path)
        for url in (fakes.openai_url, fakes.ollama_url)
        for path in ("/", "/v1/models", "/api/tags", "/control/health", "/docs", "/nothing")
    ]
    for answer in answers:
        assert port not in answer.text
        assert TOKEN not in answer.text + str(answer.headers)
