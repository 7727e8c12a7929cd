"""A target refers to its keys and has none of them; where a key is missing, it says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from routerspec.errors import UsageError
from routerspec.plan import load_keys
from routerspec.plan.starts import route_plans
from routerspec.records.load_plan import LoadPlan
from routerspec.scrub import SECRETS
from routerspec.targets import load_target
from routerspec.targets.sealing import key_from

TARGET = """
name = "sealed"
[start]
command = ["router", "--token", "tok-argument-1"]
env = { MY_API_KEY = "key-variable-2", LOG_LEVEL = "debug", MAX_TOKENS = "4096" }
[start.files]
"a.yaml" = "api_key: key-file-33\\nclient: key-client-4\\nmodel: {model}"
[client]
key = "key-client-4"
[client.headers]
X-Org = "acme"
X-Auth = "env:SEALED_AUTH"
[routes.openai]
model = "{model}"
headers = { Authorization = "Bearer key-route-55" }
"""


def test_values_are_with_the_processes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALED_AUTH", "key-header-666")
    (tmp_path / "t.toml").write_text(TARGET, encoding="utf-8")
    target = load_target(str(tmp_path / "t.toml"))
    start = target.start
    assert start is not None
    assert start.env == {
        "MY_API_KEY": "<MY_API_KEY>", "LOG_LEVEL": "debug", "MAX_TOKENS": "4096",
    }  # fmt: skip
    for key in ("key-client-4", "key-header-666", "key-route-55", "key-file-33", "tok-argument-1"):
        assert key not in str(target)
    filled = SECRETS.fill(start.files["a.yaml"])
    assert filled == "api_key: key-file-33\nclient: key-client-4\nmodel: {model}"
    assert SECRETS.fill(start.command[2]) == "tok-argument-1"

    plan = LoadPlan(
        token="abcdef", folder="", control="", list_path="", promises=target.promises,
        scenarios=(), seed=1,
        routes=route_plans(target, {}), headers=target.client_request_headers({}),
    )  # fmt: skip
    written = load_keys.encoded(plan)
    assert b"key-" not in written
    assert b'"references":["' in written
    env = load_keys.environment({"client_key": "generated-7"})
    opened = load_keys.with_keys(plan, env)
    assert not env, "no child of the load process gets it"
    assert opened.headers == {
        "Authorization": "Bearer key-client-4", "X-Org": "acme", "X-Auth": "key-header-666",
    }  # fmt: skip
    assert opened.routes[0].headers == {"Authorization": "Bearer key-route-55"}
    assert opened.secrets == {"client_key": "generated-7"}


def test_the_options_give_a_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALED_KEY", "key-of-environment-1")
    (tmp_path / "key").write_text("key-of-file-2\n", encoding="utf-8")
    assert key_from("", None) == ""
    for reference, key in (
        (key_from("env:SEALED_KEY", None), "key-of-environment-1"),
        (key_from("", tmp_path / "key"), "key-of-file-2"),
        (key_from("key-as-it-is-3", None), "key-as-it-is-3"),
    ):
        assert SECRETS.fill(reference) == key
        assert key not in reference
    assert key_from("env:SEALED_KEY", None) == "<SEALED_KEY>"


def test_a_missing_key_is_an_error_with_a_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEALED_NONE", raising=False)
    monkeypatch.setenv("SEALED_EMPTY", "")
    (tmp_path / "empty").write_text(" \n", encoding="utf-8")
    (tmp_path / "two").write_text("one\ntwo\n", encoding="utf-8")
    for text, file, message in (
        ("env:SEALED_NONE", None, r"SEALED_NONE is not set: `export SEALED_NONE=\.\.\.` first"),
        ("env:SEALED_EMPTY", None, r"SEALED_EMPTY is empty: `export"),
        ("", tmp_path / "empty", "is empty: write the key into it"),
        ("", tmp_path / "none", "cannot be read: No such file"),
        ("", tmp_path / "two", "line break"),
        ("a", tmp_path / "two", "pass one of them"),
    ):
        with pytest.raises(UsageError, match=message):
            key_from(text, file)
    (tmp_path / "t.toml").write_text(TARGET.replace("SEALED_AUTH", "SEALED_NONE"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"\[client\] headers.X-Auth is env:SEALED_NONE, and"):
        load_target(str(tmp_path / "t.toml"))
