"""A hostile router gets a target file that is read as one, with nothing of its own in it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from routerspec.init import begin as beginning
from routerspec.init.findings import findings
from routerspec.init.probe import GET, POST, Answer, ProbeResult
from routerspec.init.toml_text import target_text
from routerspec.processes.ports import FakePorts
from routerspec.targets import read_target
from tests.support.hostile import HOSTILE, refuse_commands

IDS = (
    [HOSTILE, f"{HOSTILE}/gpt", "a\nname = 'pwned'/x", '"""', "'''/a", "\U0001f600/x", "x" * 5000],
    [
        "\nopenai/fake-chat",
        f"{HOSTILE}\n/fake-chat",
        "[routes.x]/fake-chat",
        "\U0001f600/fake-chat",
    ],
    ["{client_key}/fake-chat", "{port}/fake-chat", "", "/", "//"],
)


def probed(ids: list[str], text: str) -> ProbeResult:
    models = msgspec.json.encode({"data": [{"id": id_} for id_ in ids]})
    document = {"info": {"title": text, "version": text}, "paths": {text: {}}}
    answers = {path: Answer(status=404, headers={}, body=b"") for path in (*GET, *POST)}
    answers["/openapi.json"] = Answer(status=200, headers={}, body=msgspec.json.encode(document))
    answers["/v1/models"] = Answer(status=200, headers={}, body=models)
    for path in POST:
        answers[path] = Answer(status=400, headers={}, body=b"")
    return ProbeResult(
        url="http://127.0.0.1:1", answers=answers, without_key=answers["/v1/models"],
        key_given=False, list_for_anthropic=answers["/v1/models"], only_bearer=True,
    )  # fmt: skip


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize(
    "text", [HOSTILE, "a\n[start]\ncommand = ['x']", "../../etc/x", "\U0001f600"]
)
def test_the_file_is_read_and_has_the_tables_of_any_other(ids: list[str], text: str) -> None:
    found = findings(probed(ids, text))
    written = target_text(found, "http://127.0.0.1:1")
    document = tomllib.loads(written)
    assert set(document) == {"name", "client", "routes", "promises"}
    read_target(written, "hostile.toml")
    comments = [line for line in written.splitlines() if line.startswith("#")]
    refuse_commands("\n".join(comments))
    assert all(line.isprintable() for line in written.split("\n"))
    assert all(len(line) < 300 for line in comments)
    assert re.fullmatch(r"[a-z0-9-]{1,64}", found.name)


def test_the_file_is_written_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    title = "../" * 9 + "a" * 5000
    monkeypatch.setattr(beginning, "_look", lambda *_, **__: probed(["fake-chat"], title))
    draft = beginning.begin(
        "http://127.0.0.1:1", key="", out=None, ports=FakePorts(), anthropic=False,
        allow_remote=False, tell=lambda _: None,
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == [str(draft.path)]
