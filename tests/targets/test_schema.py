"""Target files: the records they are read into, and how a fault is reported."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from routerspec.errors import UsageError
from routerspec.promises import Cancel, Cap, ModelList, Promises, Retries
from routerspec.targets import (
    PLACEHOLDERS,
    attached_target,
    builtin_targets,
    fill,
    load_target,
    read_target,
)
from routerspec.targets.lines import line_of
from routerspec.targets.records import IMPLIED_MODES, MODES, Front
from routerspec.targets.sealing import sealed

FULL = """\
name = "my-router"
homepage = "https://example.org/"
install = "pip install my-router"
version = { command = ["my-router", "--version"] }

[start]
command = ["my-router", "--config", "{dir}/config.yaml", "--port", "{port}"]
env = { OPENAI_API_KEY = "{openai_key}" }
ready = "/health"
files = { "config.yaml" = "{ cap {cap} } {unknown} {openai_url}" }

[client]
key = "none"
headers = { X-Team = "a" }

[routes]
openai = "openai/{model}"
ollama = "ollama/{model}"
[routes.agent]
model = "agent/{model}"
provider = "ollama"
front = "ollama"
path = "/agents"
modes = ["chat", "stream"]
headers = { X-Agent = "1" }

[promises]
cap = { limit = 4, scope = "provider", overload = "queue", reject_status = [429] }
model_list = { ttl_s = 2, partial = true }
cancel = { within_s = 1.0 }
retries = { max = 0 }
keys = "passthrough"
recovery_s = 5
rewrites = ["user", "metadata"]
max_body_bytes = 1048576
response_cache = true
trace = true
timeout = "total"

[[known]]
check = "cancel/reaches-provider"
issue = "https://example.org/1"

[variant.rejecting]
promises.cap.overload = "reject"
start.env.MODE = "reject"
"""

SMALL = """\
name = "small"

[routes]
openai = "{model}"
"""


def test_a_full_file_is_read() -> None:
    target = read_target(FULL, "my.toml")
    assert (target.name, target.variant, target.title) == ("my-router", "", "my-router")
    assert target.version_command == ("my-router", "--version")
    assert target.start is not None
    assert target.start.command[0] == "my-router"
    assert target.start.ready == "/health"
    assert target.start.ready_timeout_s == 30
    assert target.known == {"cancel/reaches-provider": "https://example.org/1"}
    assert target.promises == Promises(
        cap=Cap(limit=4, scope="provider", reject_status=(429,)),
        model_list=ModelList(ttl_s=2.0, partial=True),
        cancel=Cancel(within_s=1.0),
        retries=Retries(max=0),
        keys="passthrough",
        recovery_s=5.0,
        rewrites=("user", "metadata"),
        max_body_bytes=1 << 20,
        response_cache=True,
        trace=True,
        timeout="total",
    )
    assert isinstance(target.promises.recovery_s, float)


def test_the_short_form_implies_modes_and_the_long_form_states_them() -> None:
    openai, ollama, agent = read_target(FULL, "my.toml").routes
    assert (openai.provider, openai.front, openai.model) == ("openai", "openai", "openai/{model}")
    assert (openai.modes, openai.implied) == (("chat", "stream", "embeddings"), True)
    assert (ollama.provider, ollama.front, ollama.path) == ("ollama", "openai", "")
    assert (agent.provider, agent.front, agent.path) == ("ollama", "ollama", "/agents")
    assert (agent.modes, agent.implied) == (("chat", "stream"), False)
    assert agent.headers == {"X-Agent": "1"}
    infos = read_target(FULL, "my.toml").route_infos()
    assert [(info.name, info.front, info.implied) for info in infos] == [
        ("openai", "openai", True),
        ("ollama", "openai", True),
        ("agent", "ollama", False),
    ]


def test_a_variant_is_merged_deeply_over_the_rest() -> None:
    plain, variant = read_target(FULL, "my.toml"), read_target(FULL, "my.toml", "rejecting")
    assert variant.title == "my-router:rejecting"
    assert plain.promises.cap is not None
    assert variant.promises.cap is not None
    assert (plain.promises.cap.overload, variant.promises.cap.overload) == ("queue", "reject")
    assert variant.promises.cap.limit == 4
    assert variant.promises.model_list == plain.promises.model_list
    assert variant.start is not None
    assert variant.start.env == {"OPENAI_API_KEY": "{openai_key}", "MODE": "reject"}
    assert plain.start is not None
    assert plain.start.env == {"OPENAI_API_KEY": "{openai_key}"}


def test_a_variant_can_take_a_promise_away() -> None:
    text = FULL + 'promises.model_list = "none"\npromises.retries = "none"\n'
    plain, variant = read_target(text, "my.toml"), read_target(text, "my.toml", "rejecting")
    assert plain.promises.model_list == ModelList(ttl_s=2.0, partial=True)
    assert variant.promises.model_list is None
    assert variant.promises.retries is None
    assert variant.promises.cancel == plain.promises.cancel
    small = read_target(SMALL + '[promises]\ncap = "none"\n', "small.toml")
    assert small.promises == Promises()


def test_a_variant_can_take_a_route_away() -> None:
    text = FULL + 'routes.agent = "none"\n'
    plain, variant = read_target(text, "my.toml"), read_target(text, "my.toml", "rejecting")
    assert {route.name for route in plain.routes} - {route.name for route in variant.routes} == {
        "agent"
    }


def test_only_the_stated_placeholders_are_replaced() -> None:
    values = dict.fromkeys(PLACEHOLDERS, "X")
    assert fill("".join(f"{{{name}}}" for name in PLACEHOLDERS), values) == "X" * len(PLACEHOLDERS)
    nginx = "http { server { listen {port}; } } {ports} { port } ${port} {{cap}}"
    assert fill(nginx, {"port": "80", "cap": ""}) == (
        "http { server { listen 80; } } {ports} { port } $80 {}"
    )
    assert fill("{model} {cap}", {"cap": "4"}) == "{model} 4"


def test_uses_looks_where_the_router_is_configured() -> None:
    target = read_target(FULL, "my.toml")
    assert target.uses("cap")
    assert target.uses("openai_key")
    assert target.uses("port")
    assert not target.uses("models_ttl_s")
    assert not target.uses("model")
    assert not read_target(SMALL, "small.toml").uses("cap")


REPLICAS = """\
name = "several"
[start]
command = ["router", "{port}", "{redis_port}"]
replicas = 3
[[service]]
name = "redis"
command = ["redis-server", "{redis_port}", "{cap}"]
[[service]]
name = "db_2"
command = ["db"]
env = { DB_PASSWORD = "pass-word-77" }
[routes]
openai = "{model}"
"""


def test_replicas_share_services_and_what_these_use_is_used() -> None:
    target = read_target(REPLICAS, "several.toml")
    assert target.replicas == 3
    assert [service.name for service in target.services] == ["redis", "db_2"]
    assert target.uses("cap")
    assert fill("{redis_port} {db_2_port} {DB_port}", {"redis_port": "1", "db_2_port": "2"}) == (
        "1 2 {DB_port}"
    )
    assert "pass-word-77" not in str(sealed(target))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('name = "db_2"', 'name = "redis"', "service names the service 'redis' twice"),
        ('name = "db_2"', 'name = "Db"', "service.1.name must be small letters, digits and"),
        ("replicas = 3", "replicas = 0", "start.replicas must be at least 1"),
        ("replicas = 3", "replicas = 10", "start.replicas must be at most 9"),
        ('command = ["db"]', "", "service.1.command is missing"),
    ],
)
def test_a_fault_of_replicas_is_reported(old: str, new: str, expected: str) -> None:
    with pytest.raises(UsageError, match=re.escape(expected)):
        read_target(REPLICAS.replace(old, new), "several.toml")


def test_the_clients_headers() -> None:
    assert read_target(FULL, "my.toml").client_request_headers({"client_key": "k"}) == {
        "X-Team": "a"
    }
    assert read_target(SMALL, "small.toml").client_request_headers({"client_key": "k"}) == {
        "Authorization": "Bearer k"
    }


def test_the_list_is_requested_in_the_dialect_of_the_front() -> None:
    assert read_target(FULL, "my.toml").list_path == "/v1/models"
    only_ollama = SMALL + '[routes.native]\nmodel = "{model}"\nfront = "ollama"\npath = "/x"\n'
    text = only_ollama.replace('openai = "{model}"\n', "")
    assert read_target(text, "small.toml").list_path == "/x/api/tags"


@pytest.mark.parametrize(
    ("stated", "paths"),
    [('"/api/tags"', ("/api/tags",)), ('["/v1/models", "/api/tags"]', ("/v1/models", "/api/tags"))],
)
def test_the_path_of_the_cached_list_can_be_promised(stated: str, paths: tuple[str, ...]) -> None:
    text = SMALL + f"[promises.model_list]\nttl_s = 2\npath = {stated}\n"
    target = read_target(text, "small.toml")
    assert target.promises.model_list is not None
    assert target.promises.model_list.paths == paths
    assert target.list_path == paths[0]
    assert target.list_paths[0] == paths[0]
    assert set(target.list_paths) == {"/v1/models", "/api/tags"}


@pytest.mark.parametrize("stated", ['"tags"', "[]", '["tags"]', "3"])
def test_a_path_of_a_list_that_is_none_is_named_with_its_line(stated: str) -> None:
    text = SMALL + f"[promises.model_list]\nttl_s = 2\npath = {stated}\n"
    with pytest.raises(UsageError, match=r"promises\.model_list\.path must be a path") as refused:
        read_target(text, "small.toml")
    assert f"small.toml:{len(text.splitlines())}" in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("homepage =", "homepge =", ["homepge is not a known key", "Did you mean homepage?"]),
        ("limit = 4", "limt = 4", ["promises.cap.limt", "Did you mean limit?"]),
        ("limit = 4", "limit = 0", ["promises.cap.limit", "at least 1"]),
        ("limit = 4", "limit = true", ["whole number"]),
        ("limit = 4", "limit = 4.5", ["whole number"]),
        ('"provider", over', '"provder", over', ["global, provider", "Did you mean provider?"]),
        ("[429]", "[200]", ["reject_status", "400 to 599"]),
        ("[429]", "429", ["must be a list"]),
        ("cancel = { within_s = 1.0 }", 'cancel = "non"', ['"none" to take it away', "'non'"]),
        ("ttl_s = 2", "ttl_s = -2", ["promises.model_list.ttl_s", "above 0"]),
        ("ttl_s = 2", "ttl_s = nan", ["above 0"]),
        ("ttl_s = 2, ", "", ["promises.model_list.ttl_s is missing"]),
        ("within_s = 1.0", "within_s = 0", ["promises.cancel.within_s"]),
        ("max = 0", "max = -1", ["promises.retries.max", "negative"]),
        ("recovery_s = 5", "recovery_s = -5", ["promises.recovery_s"]),
        ("recovery_s = 5", "workers = 0", ["promises.workers"]),
        ('keys = "passthrough"', 'keys = "mine"', ["own, passthrough"]),
        ('["user", "metadata"]', '"user"', ["promises.rewrites", "must be a list"]),
        ('["user", "metadata"]', '["a.b"]', ["promises.rewrites.0", "top-level field"]),
        ("max_body_bytes = 1048576", "max_body_bytes = 0", ["promises.max_body_bytes"]),
        ("trace = true", 'trace = "yes"', ["promises.trace", "true or false"]),
        ('timeout = "total"', 'timeout = "totl"', ["idle, total", "Did you mean total?"]),
        ('ready = "/health"', 'ready = "health"', ["start.ready"]),
        ('"{openai_key}"', "7", ["start.env.OPENAI_API_KEY", "write it in quotes"]),
        ('"config.yaml" =', '"../config.yaml" =', ["within {dir}"]),
        ('ready = "/health"', "ready_timeout_s = 0", ["start.ready_timeout_s"]),
        ('ready = "/health"', "redy = 1", ["in [start]", "Did you mean ready?"]),
        ('path = "/agents"', 'path = "/agents/"', ["routes.agent.path"]),
        ('"chat", "stream"', '"chat", "strem"', ["Did you mean stream?"]),
        ('["chat", "stream"]', "[]", ["leave the route out"]),
        ('front = "ollama"', 'front = "gemini"', ["openai, ollama"]),
        ('check = "cancel', 'check = "Cancel', ["known.0.check", "cap/streams"]),
        ('issue = "https:', 'issue = "see', ["known.0.issue", "URL"]),
        ('overload = "reject"', 'overload = "drop"', ["queue, reject"]),
        ('name = "my-router"', 'name = "my/router"', ["becomes a folder"]),
        ('name = "my-router"\n', "", ["name is missing"]),
        ('ollama = "ollama/{model}"', "ollama = 3", ["routes.ollama", "must be a text"]),
        ('key = "none"', 'key = ""', ['write "none"']),
        ("X-Team", '"X Team"', ["not a valid header name"]),
        ("[client]", "[client", ["not valid TOML"]),
        ('"stream"]', '"chat"]', ["routes.agent.modes names a mode twice"]),
        ('"stream"]', '"tools"]', ["routes.agent.modes names tools", "chat, stream, embeddings"]),
        ('path = "/agents"', 'pth = "/agents"', ["in [routes.agent]", "Did you mean path?"]),
        ("env = { OPENAI", 'env = { "1OPENAI', ["not valid TOML"]),
        ("OPENAI_API_KEY", '"OPENAI-KEY"', ["start.env.OPENAI-KEY", "environment variable"]),
        ('X-Team = "a"', 'X-Team = "a\\nb"', ["client.headers.X-Team", "line break"]),
        ('command = ["my-router", "--version"]', "command = []", ["version.command is empty"]),
        ('homepage = "https://example.org/"', "homepage = 2026-01-01", ["must be a text"]),
        ('issue = "https://example.org/1"', 'isue = "x"', ["in [known.0]", "Did you mean issue?"]),
    ],
)
def test_a_fault_is_reported_with_file_line_and_hint(
    old: str, new: str, expected: list[str]
) -> None:
    line = 1 + FULL[: FULL.index(old)].count("\n")
    with pytest.raises(UsageError) as caught:
        read_target(FULL.replace(old, new, 1), "my.toml")
    message = str(caught.value)
    assert message.startswith(f"my.toml:{line}: ")
    for word in expected:
        assert word in message


def test_every_variant_is_checked_and_reported_by_its_own_line() -> None:
    with pytest.raises(UsageError, match=r"my\.toml:45: promises\.cap\.limit must be at least 1"):
        read_target(FULL.replace('overload = "reject"', "limit = 0"), "my.toml")


def test_a_variant_has_no_variants() -> None:
    with pytest.raises(UsageError, match="variant is not possible within a variant"):
        read_target(FULL.replace("start.env.MODE", "variant.x.name"), "my.toml")


def test_an_unknown_variant_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"Did you mean rejecting\? It has: rejecting"):
        read_target(FULL, "my.toml", "rejectin")
    with pytest.raises(UsageError, match="It has none"):
        read_target(SMALL, "small.toml", "rejecting")


def test_a_name_is_a_path_or_a_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.toml").write_text(FULL)
    monkeypatch.chdir(tmp_path)
    assert load_target("my.toml").name == "my-router"
    assert load_target("./my.toml:rejecting").variant == "rejecting"
    assert load_target(f"{tmp_path}/my.toml").name == "my-router"
    with pytest.raises(UsageError, match=r"no target 'my'.*written \./my\.toml"):
        load_target("my")
    with pytest.raises(UsageError, match="Did you mean reference"):
        load_target("refrence")
    with pytest.raises(UsageError, match=r"no target file \./absent\.toml"):
        load_target("./absent.toml")
    with pytest.raises(UsageError, match="needs a name"):
        load_target("")


def test_every_built_in_target_can_be_read() -> None:
    names = builtin_targets()
    assert {"reference", "haproxy"} <= set(names)
    for name in names:
        target = load_target(name)
        assert target.name == name
        assert target.install
        assert target.uses("port")
        assert target.promises.cap is None or target.uses("cap")
        assert target.promises.model_list is None or target.uses("models_ttl_s")


def test_the_reference_router_has_the_original_promises() -> None:
    target = load_target("reference")
    assert [route.name for route in target.routes] == ["openai", "ollama", "agent", "rag"]
    assert not any(route.implied for route in target.routes)
    assert target.promises.cap == Cap(limit=4)
    assert target.promises.model_list == ModelList(
        ttl_s=1.0, partial=True, partial_within_s=3.0, by_id=True
    )
    assert target.known == {}


def test_haproxy_promises_no_more_than_it_keeps() -> None:
    target = load_target("haproxy")
    assert target.promises.model_list is None
    assert target.client_request_headers({"client_key": "k"}) == {}


def test_a_running_router_is_a_target_without_a_file() -> None:
    target = attached_target("http://127.0.0.1:8080", cap=5, models_ttl_s=30)
    assert target.name == "127.0.0.1-8080"
    assert target.start is None
    assert target.promises == Promises(cap=Cap(limit=5), model_list=ModelList(ttl_s=30))
    assert [(r.name, r.provider, r.front, r.model) for r in target.routes] == [
        ("openai", "openai", "openai", "openai/{model}"),
        ("ollama", "ollama", "openai", "ollama/{model}"),
    ]
    assert target.client_request_headers({"client_key": "k"}) == {}
    with_key = attached_target("http://[::1]:8080", key="sk-1", front="anthropic")
    assert with_key.client_request_headers({}) == {"Authorization": "Bearer sk-1"}
    (claude,) = with_key.routes
    assert (claude.model, claude.front, claude.provider) == (
        "anthropic/{model}",
        "anthropic",
        "anthropic",
    )
    assert claude.modes == ("chat", "stream", "tools")
    assert with_key.promises == Promises()


@pytest.mark.parametrize(("cap", "ttl_s"), [(0, None), (-1, None), (None, 0.0), (None, -3.0)])
def test_a_running_routers_promises_are_checked_too(cap: int | None, ttl_s: float | None) -> None:
    with pytest.raises(UsageError, match="command line"):
        attached_target("http://127.0.0.1:8080", cap=cap, models_ttl_s=ttl_s)


def test_lines_are_found_past_long_texts_and_in_arrays_of_tables() -> None:
    text = (
        'a = """\nb = 1\n[c]\n"""\n'  # 1-4
        "b = 2\n"  # 5
        "[c.d]\n"  # 6
        "'e.f'.g = 1\n"  # 7
        "[[h]]\nx = 1\n[[h]]\nx = 2\n"  # 8-11
    )
    assert line_of(text, ("a",)) == 1
    assert line_of(text, ("b",)) == 5
    assert line_of(text, ("c", "d", "e.f", "g")) == 7
    assert line_of(text, ("c", "d", "missing")) == 6
    assert line_of(text, ("h", 0, "x")) == 9
    assert line_of(text, ("h", 1, "x")) == 11
    assert line_of(text, ("nowhere",)) == 1


def test_quotations_of_the_documentation_are_kept_beside_the_promises() -> None:
    entry = '[[documented]]\npromise = "cap"\nwords = "at most N"\nsource = "https://x.org/"\n'
    target = read_target(SMALL + "\n" + entry, "small.toml")
    assert [(d.promise, d.words) for d in target.documented] == [("cap", "at most N")]
    with pytest.raises(UsageError, match=r"documented.0.promise must be one of cap,.*mean cap"):
        read_target(SMALL + "\n" + entry.replace('"cap"', '"caps"'), "small.toml")
    with pytest.raises(UsageError, match=r"documented.0.source must be the URL"):
        read_target(SMALL + "\n" + entry.replace("https", "file"), "small.toml")


@pytest.mark.parametrize(
    "more",
    [
        '[routes.claude]\nmodel = "{model}"\nprovider = "anthropic"\n',
        '[start]\ncommand = ["r", "--anthropic={anthropic_url}"]\n',
        '[start]\ncommand = ["r"]\nenv = { A = "{anthropic_url}" }\n',
        '[start]\ncommand = ["r"]\nfiles = { "a.conf" = "{anthropic_url}/v1" }\n',
        '[client.headers]\nX-Upstream = "{anthropic_url}"\n',
        '[routes.other]\nmodel = "{model}"\nheaders = { X-Upstream = "{anthropic_url}" }\n',
    ],
)
def test_a_target_needs_the_anthropic_fake_where_it_names_it(more: str) -> None:
    assert not read_target(SMALL, "small.toml").needs_anthropic
    assert read_target(SMALL + more, "small.toml").needs_anthropic


def test_a_key_of_anthropic_alone_is_no_server() -> None:
    start = '[start]\ncommand = ["r"]\nenv = { K = "{anthropic_key}" }\n'
    assert not read_target(SMALL + start, "small.toml").needs_anthropic


def route(**keys: object) -> str:
    """A target whose only route is ``agents``, with these keys."""
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in keys.items())
    return f'name = "small"\n[routes.agents]\nmodel = "{{model}}"\n{lines}'


@pytest.mark.parametrize(
    ("front", "mode", "modes"),
    [
        ("anthropic", "embeddings", "chat, stream, tools"),
        ("anthropic", "completions", "chat, stream, tools"),
        ("responses", "embeddings", "chat, stream, tools"),
        ("ollama", "tools", "chat, stream, embeddings, completions"),
    ],
)
def test_a_mode_that_no_such_front_has_is_refused_with_those_it_has(
    front: str, mode: str, modes: str
) -> None:
    with pytest.raises(UsageError) as refused:
        read_target(route(front=front, modes=["chat", mode]), "small.toml")
    assert str(refused.value) == (
        f'small.toml:5: routes.agents.modes names {mode}, which front = "{front}" does not have: '
        f"its modes are {modes}."
    )


def test_each_front_has_its_own_modes_and_lists_them_first() -> None:
    for front in get_args(Front):
        (implied,) = read_target(route(front=front), "small.toml").routes
        assert implied.modes == IMPLIED_MODES[front]
        (listed,) = read_target(route(front=front, modes=MODES[front]), "small.toml").routes
        assert listed.modes == MODES[front]


@pytest.mark.parametrize(
    ("name", "keys", "provider"),
    [
        ("claude", {"front": "anthropic"}, "anthropic"),
        ("claude", {"front": "anthropic", "provider": "ollama"}, "ollama"),
        ("ollama", {"front": "anthropic"}, "ollama"),
        ("anthropic", {}, "anthropic"),
        ("codex", {"front": "responses"}, "openai"),
        ("codex", {"front": "responses", "provider": "anthropic"}, "anthropic"),
        ("agent", {}, "openai"),
    ],
)
def test_the_provider_is_that_of_the_table_the_name_or_the_front(
    name: str, keys: dict[str, str], provider: str
) -> None:
    (found,) = read_target(route(**keys).replace("agents", name), "small.toml").routes
    assert found.provider == provider
    assert found.provider_stated is (name not in {"codex", "agent"} or "provider" in keys)


@pytest.mark.parametrize("front", ["anthropic", "responses"])
def test_the_list_of_a_target_for_agents_alone_is_that_of_v1(front: str) -> None:
    target = read_target(route(front=front, path="/agents"), "small.toml")
    assert target.list_path == "/agents/v1/models"
    more = '[routes.other]\nmodel = "{model}"\n'
    assert (
        read_target(route(front=front, path="/agents") + more, "s.toml").list_path == "/v1/models"
    )
