"""The scripts' dialects beside chat and Ollama: made and read, and the rounds played on them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from routerspec.plan.requests import request_body
from routerspec.records.run import Settings
from routerspec.repro.kit import anthropic, responses
from routerspec.repro.kit.clients import pieces_in, says_error, says_finished
from routerspec.repro.kit.dialects import Said, answer_of
from routerspec.repro.kit.providers import PIECES, Answer, Call, Provider
from routerspec.repro.probes import CALLS, FAILURES, FINISHES, FRAMES, PLAIN, TEXT, USAGE, Probe
from routerspec.repro.rounds.forwarded import differing_fields
from routerspec.repro.script import script_of, settings_of
from routerspec.repro.table import REPROS
from tests.repro.test_both_sides import PLAN, ROUTE, played

PATHS = {"anthropic": "/v1/messages", "responses": "/v1/responses"}
FRONTS = {
    front: msgspec.structs.replace(
        ROUTE,
        name=front,
        front=front,
        provider="anthropic" if front == "anthropic" else "openai",
        modes=("chat", "stream", "tools"),
    )
    for front in PATHS
}
READERS = anthropic.Messages, responses.Responses  # they are found by their paths
BROKEN = {
    "anthropic": {
        "wire/ending": "no message_stop",
        "wire/framing": "no event names",
        "wire/failure-visible": "no event names",
        "tools/arrive": "input lost",
        "request/body": "floats",
    },
    "responses": {
        "wire/ending": "two ends",
        "wire/ids": "another id",
        "tools/arrive": "arguments doubled",
        "tools/round-trip": "call_ids lost",
        "usage/told": "counted twice",
    },
}
"""Front -> check -> the defect of ``relays`` that its round shows."""


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    server = Provider("openai", 0)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("front", [*PATHS, "openai", "ollama"])
@pytest.mark.parametrize("mode", ["chat", "stream", "tools"])
def test_an_answer_has_its_pieces(provider: Provider, front: str, mode: str) -> None:
    path = PATHS.get(front) or {"openai": "/v1/chat/completions", "ollama": "/api/chat"}[front]
    route = msgspec.structs.replace(ROUTE, front=front, provider="openai")
    body = request_body(route, mode, "fake-chat", "Say repro-7- again")
    provider.on_call = Answer.whole
    answer = httpx.post(provider.url + path, content=body, verify=False)
    provider.on_call = lambda answer: answer.error(500)
    refused = httpx.post(provider.url + path, content=body, verify=False)
    assert pieces_in(answer.text, path) == [(7, 1, number) for number in range(PIECES)]
    assert says_finished(answer.text) or front == "responses"
    assert not says_error(answer.text)
    assert refused.status_code == 500
    assert says_error(refused.text)
    said = Said(path, mode != "chat", answer.content)
    assert not said.faults + said.disorder + said.renamed
    assert bool(said.calls) == (mode == "tools")


def test_a_script_has_the_dialects_that_it_needs(tmp_path: Path) -> None:
    needed = {"anthropic": {"Messages", "Responses"}, "responses": {"Responses"}, "openai": set()}
    fronts = {**FRONTS, "openai": ROUTE}
    fronts["anthropic"] = msgspec.structs.replace(FRONTS["anthropic"], provider="openai")
    for front, classes in needed.items():
        plan = msgspec.structs.replace(PLAN, routes=(fronts[front],))
        for check in ("cap/streams", "keys/stay-home", "tools/round-trip", "wire/http"):
            its = REPROS[check].round
            assert its is not None
            given = settings_of(its, plan, Settings(cap=4, models_ttl_s=None), None, {})
            source = script_of(its, given, title=check, promised="", by="test")
            kept = set(re.findall(r"^class (Messages|Responses)", source, re.MULTILINE))
            assert kept == classes
            (tmp_path / f"{front}--{check.replace('/', '--')}.py").write_text(source)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F,E9", str(tmp_path)]
    done = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_third_provider_is_served_only_where_a_route_leads_there() -> None:
    its = REPROS["cap/streams"].round
    assert its is not None
    for front, names in (("anthropic", 3), ("responses", 2)):
        plan = msgspec.structs.replace(PLAN, routes=(FRONTS[front],))
        given = settings_of(its, plan, Settings(cap=4, models_ttl_s=None), None, {})
        assert len(given["ports"]) == names
        assert ("x-api-key" in given["cells"][0]["headers"]) == (front == "anthropic")
        assert {cell["mode"] for cell in given["cells"]} == {"stream", "tools"}


def said(probe: Probe, path: str, *, streamed: bool) -> Said:
    """What a probe's answer says at this path."""
    body = msgspec.json.encode({"stream": streamed, "stream_options": {"include_usage": True}})
    return Said(path, streamed, b"".join(answer_of(Call("p", path, body, ""), dict(probe))))


@pytest.mark.parametrize(
    "probe", [PLAIN, *TEXT, *FRAMES, *FINISHES[:1], *USAGE, *CALLS], ids=lambda probe: probe["name"]
)
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("path", PATHS.values())
def test_a_probe_says_the_same_in_every_dialect(probe: Probe, streamed: bool, path: str) -> None:
    ours, chat = (said(probe, at, streamed=streamed) for at in (path, "/v1/chat/completions"))
    assert "".join(ours.text.values()) == "".join(chat.text.values())
    assert ours.tools == chat.tools
    assert not ours.faults + ours.disorder + ours.renamed
    assert ours.ends == streamed
    reasons = {"tool_calls": "stop"} if path == PATHS["responses"] else {}
    finish = [reasons.get(reason, reason) for reason in chat.finishes[0]]
    assert ours.finishes[0] == finish
    if "usage_event" in probe:
        told = {name: count for name, count in ours.usage.items() if count or name in chat.usage}
        assert {**chat.usage, **told} == chat.usage


@pytest.mark.parametrize("probe", FAILURES[1:], ids=lambda probe: probe["name"])
@pytest.mark.parametrize("path", PATHS.values())
def test_a_stream_that_is_broken_off_has_no_ending(probe: Probe, path: str) -> None:
    its = said(probe, path, streamed=True)
    assert not any(its.finishes.values())
    assert bool(its.errors) == (probe["ends"] == "error")


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, str, str], bool | str]:
    """All rounds on both fronts against both routers, a few side by side: they mostly wait."""
    jobs = [
        (front, check, defect)
        for front, broken in BROKEN.items()
        for check, bad in broken.items()
        for defect in (bad, "sound")
    ]

    def outcome(job: tuple[str, str, str]) -> Any:
        front, check, defect = job
        return played(check, defect, msgspec.structs.replace(PLAN, routes=(FRONTS[front],)))

    with ThreadPoolExecutor(8) as pool:
        return dict(zip(jobs, pool.map(outcome, jobs), strict=True))


@pytest.mark.parametrize(
    ("front", "check", "defect"), [(f, *its) for f in BROKEN for its in BROKEN[f].items()]
)
def test_a_round_sees_its_defect_and_none_in_a_sound_router(
    front: str, check: str, defect: str, outcomes: dict[tuple[str, str, str], bool | str]
) -> None:
    assert outcomes[front, check, defect] is True
    assert outcomes[front, check, "sound"] is False


SAID = {"role": "user", "content": "a", "x_note": 1}
ITEM = {**SAID, "type": "message", "content": [{"type": "input_text", "text": "a"}]}


@pytest.mark.parametrize(
    ("ours", "its", "same"),
    [
        ({"input": [SAID]}, {"input": [ITEM]}, True),
        ({"input": "a"}, {"input": [{"role": "user", "content": "a"}]}, True),
        ({"system": "a"}, {"system": [{"type": "text", "text": "a"}]}, True),
        ({"input": [SAID]}, {"input": [{**ITEM, "x_note": None}]}, False),
        ({"x": {"role": "", "type": "message"}}, {"x": {"role": ""}}, False),
    ],
)
def test_a_default_is_no_difference(ours: Any, its: Any, *, same: bool) -> None:
    assert (differing_fields(ours, its, []) == []) is same
