"""The environment: defaults, values, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference_router.settings import Fallback, Settings, SettingsError, from_environment


def test_unset_and_empty_mean_the_defaults() -> None:
    names = ("MAX_CONCURRENCY", "MODELS_CACHE_TTL_S", "OPENAI_URL", "AGENT_STEPS", "FLAW")
    assert from_environment({}) == Settings()
    assert from_environment({f"ROUTER_{name}": "" for name in names}) == Settings()
    assert Settings().max_concurrency is None


def test_values() -> None:
    settings = from_environment(
        {
            "ROUTER_MAX_CONCURRENCY": "5",
            "ROUTER_MODELS_CACHE_TTL_S": "0.5",
            "ROUTER_OPENAI_URL": "http://127.0.0.1:1/",
            "ROUTER_OPENAI_KEY": "k",
            "ROUTER_FLAW": "one-at-a-time",
        }
    )
    assert settings.max_concurrency == 5
    assert settings.models_cache_ttl_s == 0.5
    assert settings.openai_url == "http://127.0.0.1:1"
    assert (settings.openai_key, settings.flaw) == ("k", "one-at-a-time")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROUTER_MAX_CONCURRENCY", "0"),
        ("ROUTER_MAX_CONCURRENCY", "-1"),
        ("ROUTER_MAX_CONCURRENCY", "five"),
        ("ROUTER_MODELS_CACHE_TTL_S", "-1"),
        ("ROUTER_MODELS_CACHE_TTL_S", "nan"),
        ("ROUTER_UPSTREAM_TIMEOUT_S", "soon"),
        ("ROUTER_OLLAMA_URL", "127.0.0.1:11434"),
        ("ROUTER_OVERLOAD", "drop"),
        ("ROUTER_MODELS_REFRESH", "never"),
        ("ROUTER_WORKERS", "0"),
        ("ROUTER_CAP_SCOPE", "planet"),
        ("ROUTER_RETRIES", "-1"),
        ("ROUTER_QUEUE_LIMIT", "-1"),
        ("ROUTER_QUEUE_TIMEOUT_S", "soon"),
        ("ROUTER_OPENAI_URL", "127.0.0.1:1"),
        ("ROUTER_FALLBACKS", "openai=nobody"),
        ("ROUTER_FALLBACKS", "ollama"),
        ("ROUTER_WEIGHTS", "0"),
        ("ROUTER_BALANCE", "fair"),
        ("ROUTER_CONFIG", "/nowhere.toml"),
    ],
)
def test_an_invalid_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}={value}"):
        from_environment({name: value})


def test_a_provider_has_several_instances_and_others_that_stand_in() -> None:
    settings = from_environment(
        {
            "ROUTER_OPENAI_URL": "http://127.0.0.1:1/, http://127.0.0.1:2",
            "ROUTER_FALLBACKS": "openai=ollama/llama3:8b,ollama=openai",
            "ROUTER_WEIGHTS": "2, 1",
        }
    )
    assert settings.urls_of("openai") == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert settings.urls_of("ollama") == (Settings().ollama_url,)
    assert settings.weights == (2, 1)
    assert settings.fallbacks == (
        Fallback(instead_of="openai", provider="ollama", model="llama3:8b"),
        Fallback(instead_of="ollama", provider="openai"),
    )


def test_what_a_file_says_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text('max_concurrency = 3\nbalance = "random"\n', encoding="utf-8")
    told = {"ROUTER_CONFIG": str(file), "ROUTER_MAX_CONCURRENCY": "5", "ROUTER_WORKERS": "1"}
    settings = from_environment(told)
    assert (settings.max_concurrency, settings.balance) == (3, "random")
    file.write_text("max_concurrency =", encoding="utf-8")
    with pytest.raises(SettingsError, match="cannot be read"):
        from_environment(told)


def test_the_overload_behaviour() -> None:
    bounded = from_environment({"ROUTER_QUEUE_LIMIT": "0", "ROUTER_QUEUE_TIMEOUT_S": "1.5"})
    assert (bounded.overload, bounded.queue_limit, bounded.queue_timeout_s) == ("queue", 0, 1.5)
    assert from_environment({"ROUTER_OVERLOAD": "reject"}).overload == "reject"
    with pytest.raises(SettingsError, match="no queue that could have a bound"):
        from_environment({"ROUTER_OVERLOAD": "reject", "ROUTER_QUEUE_LIMIT": "5"})


@pytest.mark.parametrize(
    "other",
    ["ROUTER_QUEUE_LIMIT=5", "ROUTER_CAP_SCOPE=provider", "ROUTER_DRAIN_S=2", "ROUTER_BUDGET=9"],
)
def test_workers_share_one_endless_queue(other: str) -> None:
    assert from_environment({"ROUTER_WORKERS": "2"}).workers == 2
    name, value = other.split("=")
    with pytest.raises(SettingsError, match=f"leave out.*{name}"):
        from_environment({"ROUTER_WORKERS": "2", name: value})


STORE = {"ROUTER_COORDINATION": "redis", "ROUTER_REDIS_URL": "redis://127.0.0.1:6379"}


@pytest.mark.parametrize(
    ("cap", "replicas", "parts"), [(4, 3, [2, 1, 1]), (6, 3, [2, 2, 2]), (3, 1, [3])]
)
def test_fixed_parts_of_replicas_are_the_cap(cap: int, replicas: int, parts: list[int]) -> None:
    told = {
        "ROUTER_COORDINATION": "static",
        "ROUTER_MAX_CONCURRENCY": str(cap),
        "ROUTER_REPLICAS": str(replicas),
    }
    numbers = range(1, replicas + 1)
    found = [from_environment({**told, "ROUTER_REPLICA": str(n)}).permits for n in numbers]
    assert found == parts


def test_without_a_cap_there_is_nothing_to_divide() -> None:
    told = from_environment({"ROUTER_COORDINATION": "static", "ROUTER_REPLICAS": "3"})
    assert told.permits is None


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"ROUTER_REPLICA": "3", "ROUTER_REPLICAS": "2"}, "ROUTER_REPLICA"),
        (
            {
                "ROUTER_COORDINATION": "static",
                "ROUTER_REPLICAS": "3",
                "ROUTER_MAX_CONCURRENCY": "2",
            },
            "at least ROUTER_REPLICAS",
        ),
        ({"ROUTER_COORDINATION": "static", "ROUTER_WORKERS": "2"}, "ROUTER_WORKERS"),
        ({"ROUTER_COORDINATION": "redis"}, "needs ROUTER_REDIS_URL"),
        ({**STORE, "ROUTER_LEASE_S": "0"}, "ROUTER_LEASE_S above 0"),
        ({**STORE, "ROUTER_OVERLOAD": "reject"}, "leave out.*ROUTER_OVERLOAD"),
        ({**STORE, "ROUTER_MODELS_REFRESH": "ahead"}, "leave out ROUTER_MODELS_REFRESH"),
        ({**STORE, "ROUTER_DRAIN_S": "1"}, "leave out.*ROUTER_DRAIN_S"),
    ],
)
def test_what_replicas_cannot_share_is_refused(told: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        from_environment(told)


def test_without_redis_py_it_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference_router.settings.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'routerspec\[redis\]'"):
        from_environment(STORE)
