"""The target file that the arguments of a test make."""

from __future__ import annotations

from routerspec.targets import Service, read_target
from routerspec.testing.target import target_text


def test_replicas_and_services_are_those_of_a_target_file() -> None:
    text = target_text(
        name="mine",
        command=["mine", "{port}"],
        routes={"openai": "{model}"},
        replicas=2,
        services=[{"name": "redis", "command": ["redis-server", "--port", "{redis_port}"]}],
        promises={"cap": {"limit": 3, "scope": "cluster"}},
    )
    target = read_target(text, "mine.toml")
    assert target.replicas == 2
    command = ("redis-server", "--port", "{redis_port}")
    assert target.services == (Service(name="redis", command=command),)


def test_one_replica_needs_no_word() -> None:
    text = target_text(name="mine", command=["mine"], routes={"openai": "{model}"}, promises={})
    assert text.splitlines()[1] == 'start = { "command" = ["mine"] }'
