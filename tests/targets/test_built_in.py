"""The target files that come with routerspec, and each of their variants: nothing left to fill."""

from __future__ import annotations

import re

import pytest

from routerspec.checks import REGISTRY
from routerspec.targets import (
    PLACEHOLDERS,
    Service,
    Start,
    Target,
    builtin_targets,
    fill,
    load_target,
    variants_of,
)

WORDS = [
    word
    for name in builtin_targets()
    for word in (name, *(f"{name}:{variant}" for variant in variants_of(name)))
]
PLACEHOLDER = re.compile(r"(?<!\$)\{[a-z_]+\}")
"""A word in braces; the shell's own have a dollar sign."""


def texts(target: Target) -> list[str]:
    assert target.start is not None
    headers = [text for route in target.routes for text in route.headers.values()]
    own = [target.client_key, *target.client_headers.values(), *headers]
    started: tuple[Start | Service, ...] = (target.start, *target.services)
    for each in started:
        own += [*each.command, *each.env.values(), *each.files.values()]
    return own


@pytest.mark.parametrize("word", WORDS)
def test_every_word_in_braces_is_filled(word: str) -> None:
    target = load_target(word)
    ports = [f"{service.name}_port" for service in target.services]
    values = dict.fromkeys((*PLACEHOLDERS, *ports), "7")
    left = {found for text in texts(target) for found in PLACEHOLDER.findall(fill(text, values))}
    assert left == set()
    assert target.title == word


@pytest.mark.parametrize("word", WORDS)
def test_promises_and_known_violations_are_readable(word: str) -> None:
    target = load_target(word)
    promises = target.promises
    assert promises.cap is None or target.uses("cap")
    assert promises.model_list is None or target.uses("models_ttl_s")
    assert promises.workers == 1 or target.uses("workers")
    assert set(target.known) <= set(REGISTRY)
    assert target.install
    assert target.version_command


def test_vllm_router_is_not_held_to_a_cap_that_its_reference_denies() -> None:
    assert load_target("vllm-router").promises.cap is None
    capped = load_target("vllm-router:capped")
    assert capped.promises.cap is not None
    assert "cap/streams" in capped.known


def test_the_anthropic_fake_is_served_only_for_targets_that_lead_there() -> None:
    assert [word for word in WORDS if load_target(word).needs_anthropic] == [
        "better-ccflare",
        "claude-code-router",
        "litellm:agents",
        "reference:agents",
        "respan-gateway",
        "rolter",
    ]


IN_WORDS = ("failover", "balance", "limits", "drain", "reload", "silence")


@pytest.mark.parametrize("word", [word for word in WORDS if not word.startswith("reference")])
def test_what_is_promised_for_bad_times_is_quoted_from_the_documentation(word: str) -> None:
    target = load_target(word)
    made = {name for name in IN_WORDS if getattr(target.promises, name) is not None}
    assert made <= {each.promise for each in target.documented}
