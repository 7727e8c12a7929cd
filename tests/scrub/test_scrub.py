"""Secrets are found however they are spelt, and nothing else is taken for one."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from urllib.parse import quote

import pytest

from routerspec import targets
from routerspec.scrub import (
    Secrets,
    is_searchable,
    public_command,
    secret_in_header,
    secrets_in_text,
)
from routerspec.targets import builtin_targets, load_target

KEY = 'sk-"a\\b/é-0123'


@pytest.mark.parametrize("spelt", [KEY, json.dumps(KEY), quote(KEY, safe="")])
def test_a_secret_is_hidden_in_every_spelling(spelt: str) -> None:
    secrets = Secrets({"MINE": KEY})
    hidden = secrets.hide(f"before {spelt} after")
    assert "0123" not in hidden
    assert "before" in hidden
    assert "<MINE>" in hidden


def test_a_reference_is_filled_with_its_own_secret_again() -> None:
    secrets = Secrets()
    first, second = secrets.add("x-api-key", "sk-one-1"), secrets.add("X_API_KEY", "sk-two-2")
    assert (first, second) == ("<X_API_KEY>", "<X_API_KEY_2>")
    text = "a: sk-one-1, b: sk-two-2, <other>"
    assert secrets.fill(secrets.refer(text)) == text


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("http://user:pa-ss@host:1/x", "http://<key>@host:1/x"),
        ("https://token@host", "https://<key>@host"),
        ("http://host/a@b", "http://host/a@b"),
        ("mail@host http://host", "mail@host http://host"),
    ],
)
def test_no_url_keeps_its_password(text: str, hidden: str) -> None:
    assert Secrets().hide(text) == hidden


@pytest.mark.parametrize("word", ["ollama", "none", "test", "12345678", "rs-client-key", "held"])
def test_a_word_is_not_searched_for(word: str) -> None:
    assert not is_searchable(word)
    assert Secrets({"K": word}).hide(f"the {word} of it") == f"the {word} of it"


def test_files_of_others_are_swept_whatever_their_size(tmp_path: Path) -> None:
    key = "sk-" + "0123456789abcdef" * 2
    part = 1 << 20
    for at in (0, part - 3, part - len(key) + 1, part, 2 * part + 5):
        (tmp_path / f"{at}.bin").write_bytes(b"\xff" * at + key.encode() + b"\x00end")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "x.jsonl").write_text(json.dumps({"error": f"bad {key}"}) + "\n")
    (tmp_path / "clean").write_text("nothing here")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = (tmp_path / "clean").stat().st_mtime_ns
    Secrets({"K": key}).sweep(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path
    assert (tmp_path / f"{part}.bin").read_bytes() == b"\xff" * part + b"<K>\x00end"
    assert json.loads((tmp_path / "below" / "x.jsonl").read_text()) == {"error": "bad <K>"}
    assert (tmp_path / "clean").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("typed", "public"),
    [
        ("verify --key sk-1 x.toml", "verify --key <key> x.toml"),
        ("verify --key=sk-1 --ke sk-2", "verify --key=<key> --ke <key>"),
        ("verify --key env:MY_KEY --key-file /k", "verify --key env:MY_KEY --key-file /k"),
        ("locust --rs-key sk-1 -t 20s", "locust --rs-key <key> -t 20s"),
        ("verify --url http://u:p@h:1 --only cap", "verify --url 'http://<key>@h:1' --only cap"),
        ("verify --key --key", "verify --key <key>"),
        ("unbalanced 'quote --key sk", "unbalanced 'quote --key <key>"),
    ],
)
def test_a_recorded_command_has_no_key(typed: str, public: str) -> None:
    if "unbalanced" not in typed:
        assert public_command(public) == public, "it is read again for each report"
    assert public_command(typed) == public


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("X-Api-Key", "a", True),
        ("Cookie", "s=1", True),
        ("X-Canary", "made-up-5f3a9", True),
        ("x-portkey-provider", "openai", False),
        ("x-portkey-custom-host", "{openai_url}/v1", False),
        ("Content-Type", "application/json", False),
        ("X-Tenant", "acme", False),
    ],
)
def test_a_header_is_a_secret_by_its_name_or_its_look(
    name: str, value: str, *, is_secret: bool
) -> None:
    assert secret_in_header(name, value) is is_secret


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('api_key_env = "UPKEY"\n[[providers]]\nname = "up"', []),
        ('key_variable: "MY_TOKEN"\n\nlisten-on: 127.0.0.1:1', []),
        ("auth = token\n[server.http-one]\n", []),
        ("api_key =\n[[providers]]", []),
        ("serve --api-key hun-ter2 --port 1", [("api-key", "hun-ter2")]),
        ("'--api-key' 'hun-ter2'", [("api-key", "hun-ter2")]),
        ("master_key: hun-ter2\nother: 1", [("master_key", "hun-ter2")]),
        ('{"token":\n "hun-ter2"}', [("token", "hun-ter2")]),
        ('UPKEY="hun-ter2"\n[[providers]]', [("KEY", "hun-ter2")]),
    ],
)
def test_a_secret_stands_beside_its_name(text: str, found: list[tuple[str, str]]) -> None:
    assert list(secrets_in_text(text)) == found


@pytest.mark.parametrize("name", builtin_targets())
def test_built_in_targets_have_no_secrets(name: str) -> None:
    text = (Path(targets.__file__).parent / f"{name}.toml").read_text(encoding="utf-8")
    for variant in ("", *tomllib.loads(text).get("variant", {})):
        target = load_target(f"{name}:{variant}" if variant else name)
        assert target == targets.read_target(text, name, variant)
