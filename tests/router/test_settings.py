"""The environment: defaults, values, refusals."""

from __future__ import annotations

import pytest

from reference_router.settings import Settings, SettingsError, from_environment


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
    ],
)
def test_an_invalid_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}={value}"):
        from_environment({name: value})


def test_the_overload_behaviour() -> None:
    bounded = from_environment({"ROUTER_QUEUE_LIMIT": "0", "ROUTER_QUEUE_TIMEOUT_S": "1.5"})
    assert (bounded.overload, bounded.queue_limit, bounded.queue_timeout_s) == ("queue", 0, 1.5)
    assert from_environment({"ROUTER_OVERLOAD": "reject"}).overload == "reject"
    with pytest.raises(SettingsError, match="no queue that could have a bound"):
        from_environment({"ROUTER_OVERLOAD": "reject", "ROUTER_QUEUE_LIMIT": "5"})


@pytest.mark.parametrize("other", ["ROUTER_QUEUE_LIMIT=5", "ROUTER_CAP_SCOPE=provider"])
def test_workers_share_one_endless_queue(other: str) -> None:
    assert from_environment({"ROUTER_WORKERS": "2"}).workers == 2
    name, value = other.split("=")
    with pytest.raises(SettingsError, match=f"leave out.*{name}"):
        from_environment({"ROUTER_WORKERS": "2", name: value})
