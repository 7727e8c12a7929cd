"""`routerspec init`: findings of the inspection, the file written, and actions never taken."""

from __future__ import annotations

import json
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from routerspec.errors import UsageError
from routerspec.init.findings import findings
from routerspec.init.probe import GET, POST, Answer, ProbeResult, snapshot
from routerspec.init.toml_text import NOT_FOUND, target_text
from routerspec.processes import foreign
from routerspec.processes.child import Child
from routerspec.processes.own_code import own_environment
from routerspec.processes.ports import free_port, is_taken
from routerspec.targets import Target, read_target
from tests.support.cli import routerspec

ABSENT = Answer(status=404, headers={}, body=b"")


def answer(body: Any, status: int = 200) -> Answer:
    return Answer(status=status, headers={}, body=json.dumps(body).encode())


def models(*ids: str) -> Answer:
    return answer({"data": [{"id": id_} for id_ in ids]})


def probed(
    *,
    without_key: Answer | None = None,
    list_for_anthropic: Answer | None = None,
    only_bearer: bool = False,
    **answers: Answer,
) -> ProbeResult:
    """``chat``, ``models`` ... for paths that answer; all others are not there."""
    paths = {
        "openapi": "/openapi.json",
        "models": "/v1/models",
        "tags": "/api/tags",
        "health": "/health",
        "chat": "/v1/chat/completions",
        "completions": "/v1/completions",
        "embeddings": "/v1/embeddings",
        "api_chat": "/api/chat",
        "api_embed": "/api/embed",
        "messages": "/v1/messages",
        "responses": "/v1/responses",
    }
    every = dict.fromkeys((*GET, *POST), ABSENT)
    every |= {paths[name]: reply for name, reply in answers.items()}
    return ProbeResult(
        url="http://127.0.0.1:1",
        answers=every,
        without_key=without_key or every["/v1/models"],
        key_given=without_key is not None,
        list_for_anthropic=list_for_anthropic,
        only_bearer=only_bearer,
    )


WRONG = answer({"error": "model is missing"}, 422)


def written(seen: ProbeResult) -> Target:
    return read_target(target_text(findings(seen), seen.url), "it.toml")


def test_the_fakes_behind_it_identify_the_provider_of_each_route() -> None:
    seen = probed(
        models=models(
            "o/fake-chat", "o/openai-epoch-3", "x/fake-chat:latest", "x/ollama-epoch-0:latest"
        ),
        chat=WRONG,
        embeddings=WRONG,
        health=answer({}),
    )
    found = findings(seen)
    assert found.fakes_behind
    assert [(r.provider, r.model, r.doubt) for r in found.routes] == [
        ("openai", "o/{model}", ""),
        ("ollama", "x/{model}:latest", ""),
    ]
    target = written(seen)
    assert [route.implied for route in target.routes] == [True, True]
    assert '# ready = "/health"' in target_text(found, seen.url)


def test_real_models_are_only_likely_and_reported_as_likely() -> None:
    seen = probed(models=models("gpt-4o", "ollama/llama3:8b", "azure/gpt-4o"), chat=WRONG)
    found = findings(seen)
    assert not found.fakes_behind
    assert [(r.name, r.provider, r.model) for r in found.routes] == [
        ("openai", "openai", "{model}"),
        ("ollama", "ollama", "ollama/{model}"),
        ("azure", "openai", "azure/{model}"),
    ]
    assert f"{NOT_FOUND} which provider is behind ids such as gpt-4o?" in target_text(found, "")
    assert [route.modes for route in written(seen).routes] == [("chat", "stream")] * 3


def test_a_router_that_speaks_ollama_alone() -> None:
    seen = probed(
        tags=answer({"models": [{"model": "fake-chat:latest"}]}), api_chat=WRONG, api_embed=WRONG
    )
    (route,) = written(seen).routes
    assert (route.front, route.model) == ("ollama", "{model}:latest")


ALL_FAKES = models(
    *("openai/fake-chat", "openai/openai-epoch-3"),
    *("ollama/fake-chat", "ollama/ollama-epoch-3"),
    *("anthropic/fake-chat", "anthropic/anthropic-epoch-3"),
)


def test_the_fronts_of_agents_are_found_with_the_provider_of_their_own_api() -> None:
    seen = probed(
        models=ALL_FAKES, list_for_anthropic=ALL_FAKES, chat=WRONG, messages=WRONG, responses=WRONG
    )
    found = {(r.name, r.front): (r.provider, r.model, r.modes) for r in written(seen).routes}
    assert found["messages", "anthropic"] == (
        "anthropic",
        "anthropic/{model}",
        ("chat", "stream", "tools"),
    )
    assert found["responses", "responses"] == (
        "openai",
        "openai/{model}",
        ("chat", "stream", "tools"),
    )
    assert {name for name, front in found if front == "openai"} == {"openai", "ollama", "anthropic"}
    assert len(found) == 5
    assert written(seen).needs_anthropic
    assert 'ANTHROPIC_BASE_URL = "{anthropic_url}"' in target_text(findings(seen), "")


def test_without_that_provider_a_front_of_agents_leads_to_the_others() -> None:
    seen = probed(
        models=models("o/fake-chat", "o/openai-epoch-1", "l/fake-chat", "l/ollama-epoch-1"),
        chat=WRONG,
        messages=WRONG,
    )
    routes = [r for r in written(seen).routes if r.front == "anthropic"]
    assert {(r.name, r.provider, r.model) for r in routes} == {
        ("messages-openai", "openai", "o/{model}"),
        ("messages-ollama", "ollama", "l/{model}"),
    }
    assert not written(seen).needs_anthropic


def test_a_router_that_speaks_anthropic_alone_has_its_list_for_such_clients() -> None:
    seen = probed(list_for_anthropic=models("claude-opus-9", "fake-chat"), messages=WRONG)
    (route,) = written(seen).routes
    assert (route.front, route.model) == ("anthropic", "{model}")
    assert "headers" not in target_text(findings(seen), "")
    real = probed(list_for_anthropic=models("claude-opus-9"), messages=WRONG)
    assert [r.provider for r in written(real).routes] == ["anthropic"]


def test_a_front_that_takes_no_x_api_key_is_written_with_the_header_that_it_takes() -> None:
    seen = probed(
        models=ALL_FAKES, list_for_anthropic=ALL_FAKES, chat=WRONG, messages=WRONG, only_bearer=True
    )
    headers = {route.front: route.headers for route in written(seen).routes}
    assert headers["anthropic"] == {"Authorization": "Bearer {client_key}"}
    assert headers["openai"] == {}


class Probed:
    """A router that records what it is asked, and refuses some of it."""

    def __init__(self, refuses: str) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self._refuses = refuses

    def __call__(self, _: str, path: str, **how: Any) -> foreign.Reply:
        self.asked.append((how["method"], path, how["headers"]))
        keys = {"Authorization", "x-api-key"} & how["headers"].keys()
        refused = path == "/v1/messages" and keys == {self._refuses}
        status = 401 if refused else 400 if path == "/v1/messages" else 404
        return foreign.Reply(status=status, headers={}, body=b"{}")


@pytest.mark.parametrize(("refuses", "only"), [("x-api-key", True), ("Authorization", False)])
def test_the_messages_path_is_asked_with_both_key_headers_and_then_with_its_own(
    refuses: str, only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = Probed(refuses)
    monkeypatch.setattr(foreign, "request", router)
    assert snapshot("http://127.0.0.1:1", "sk-1").only_bearer is only
    messages = [headers for method, path, headers in router.asked if path == "/v1/messages"]
    assert [headers["anthropic-version"] for headers in messages] == ["2023-06-01"] * 2
    assert [headers.get("Authorization") for headers in messages] == ["Bearer sk-1", None]
    assert [headers.get("x-api-key") for headers in messages] == ["sk-1"] * 2
    others = [headers for _, path, headers in router.asked if path == "/v1/chat/completions"]
    assert not any("x-api-key" in headers for headers in others)


def test_without_a_key_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Probed("")
    monkeypatch.setattr(foreign, "request", router)
    assert not snapshot("http://127.0.0.1:1", "").only_bearer
    assert not any({"x-api-key", "Authorization"} & headers.keys() for *_, headers in router.asked)


def test_paths_of_the_document_count_though_they_answer_nothing_of_use() -> None:
    document = {
        "info": {"title": 'My "LLM" Router!', "version": "2\n[routes.evil]"},
        "paths": {"/v1/chat/completions": {}},
    }
    found = findings(probed(openapi=answer(document), models=models("fake-chat")))
    assert found.name == "my-llm-router"
    assert [route.modes for route in found.routes] == [("chat", "stream")]
    text = target_text(found, "http://127.0.0.1:1")
    assert [route.name for route in read_target(text, "it.toml").routes] == ["openai"]


def test_router_output_cannot_break_out_of_the_file() -> None:
    evil = 'a"\n[start]\ncommand = ["x"]\n#/fake-chat'
    target = written(probed(models=models(evil, "\x00\u2028/gpt"), chat=WRONG))
    assert target.start is None
    assert target.routes[0].model == evil.replace("fake-chat", "{model}")


@pytest.mark.parametrize(
    ("status", "key", "needs"),
    [(200, "none", False), (401, "{client_key}", True), (403, "{client_key}", True),
     (500, "none", None)],
)  # fmt: skip
def test_whether_it_wants_a_key(status: int, key: str, needs: bool | None) -> None:
    seen = probed(models=models("m"), chat=WRONG, without_key=answer({}, status))
    assert findings(seen).needs_key is needs
    assert written(seen).client_key == key


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(codec="utf-8"), max_size=20))
@example("\U0001f600")
@example("ollama")
@example("a\x7fb\x00\n\r\t\"\\'")
def test_whatever_a_router_calls_its_models_the_file_can_be_read(name: str) -> None:
    listed = f"x{name}x/fake-chat"
    seen = probed(models=models(listed), chat=WRONG)
    text = target_text(findings(seen), seen.url)
    text.encode()
    (route,) = tomllib.loads(text)["routes"].values()  # A name may say ollama.
    assert route["model"] == listed.replace("fake-chat", "{model}")


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"data":"\xff"}'])
def test_a_list_that_cannot_be_read_is_no_list(body: bytes) -> None:
    assert findings(probed(models=Answer(status=200, headers={}, body=body))).models == 0


def test_nonsense_is_no_list() -> None:
    for listing in (answer([1]), answer({"data": [1, {"id": 7}]}), answer("x"), answer({}, 500)):
        found = findings(probed(models=listing, openapi=answer([1]), chat=WRONG))
        assert found.models == 0
        assert found.routes[0].doubt.startswith("its model list has no readable model id")


def test_nothing_there_is_no_route() -> None:
    assert findings(probed()).routes == ()


@contextmanager
def reference(folder: Path, openai: int, ollama: int, port: int) -> Iterator[str]:
    env = own_environment() | {
        "ROUTER_OPENAI_URL": f"http://127.0.0.1:{openai}",
        "ROUTER_OLLAMA_URL": f"http://127.0.0.1:{ollama}",
        "ROUTER_MODELS_CACHE_TTL_S": "0.01",
    }
    command = [sys.executable, "-P", "-m", "reference_router", "--port", str(port)]
    child = Child(command, env=env, log=folder / "router.log")
    try:
        deadline = time.monotonic() + 30
        while not is_taken(port) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield f"http://localhost:{port}"
    finally:
        child.stop()


def test_a_running_router_has_its_file_written_and_passes_smoke(tmp_path: Path) -> None:
    openai, ollama, control, port = (free_port() for _ in range(4))
    ports = ("--ports", f"{openai},{ollama},{control}")
    with reference(tmp_path, openai, ollama, port) as url:
        done = routerspec("init", "--url", url, *ports, "-o", "it.toml", cwd=tmp_path)
        assert done.status == 0, done.err + done.out
        assert "smoke passed" in done.out
        assert f"routerspec verify ./it.toml --url {url}" in done.out
        target = read_target((tmp_path / "it.toml").read_text(), "it.toml")
        assert {(route.provider, route.model) for route in target.routes} == {
            ("openai", "openai/{model}"),
            ("ollama", "ollama/{model}:latest"),
        }
        before = (tmp_path / "it.toml").read_bytes()
        again = routerspec("init", "--url", url, *ports, "-o", "it.toml", cwd=tmp_path)
        assert again.status == 2
        assert "exists already" in again.err
        assert (tmp_path / "it.toml").read_bytes() == before


def test_without_the_fakes_behind_it_the_next_command_is_printed(tmp_path: Path) -> None:
    openai, ollama, control, port = (free_port() for _ in range(4))
    with reference(tmp_path, free_port(), free_port(), port) as url:
        done = routerspec(
            "init", "--url", url, "--ports", f"{openai},{ollama},{control}", "--key", "sk-secret",
            "-o", "it.toml", cwd=tmp_path,
        )  # fmt: skip
    assert done.status == 0, done.err
    assert f"http://127.0.0.1:{openai} (OpenAI)" in done.out
    assert f"routerspec smoke ./it.toml --url {url} --key KEY --ports {openai}," in done.out
    assert "sk-secret" not in done.out + (tmp_path / "it.toml").read_text()


@pytest.mark.parametrize("command", ["init", "smoke", "verify"])
@pytest.mark.parametrize("url", ["http://10.1.2.3:8080", "https://example.org", "http://[::2]:1"])
def test_another_machine_is_not_contacted_without_permission(
    command: str, url: str, tmp_path: Path
) -> None:
    done = routerspec(command, "--url", url, cwd=tmp_path)
    assert done.status == 2
    assert "--allow-remote" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_url_without_a_server_is_reported_and_nothing_is_written(tmp_path: Path) -> None:
    done = routerspec("init", "--url", f"http://127.0.0.1:{free_port()}", cwd=tmp_path)
    assert done.status == 4
    assert "No router answers" in done.err
    assert list(tmp_path.glob("*.toml")) == []


def test_a_wrong_file_name_is_the_caller_s() -> None:
    from routerspec.init.begin import _write

    with pytest.raises(UsageError, match="cannot be written"):
        _write(Path("/no-such-folder/it.toml"), "")
