"""Rounds that compare both sides: each sees its defect, and none in a sound router."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from routerspec.processes.router import DEFAULT_KEYS
from routerspec.promises import Promises
from routerspec.records.load_plan import LoadPlan, RoutePlan
from routerspec.records.run import Settings
from routerspec.repro.kit.lab import Lab, NotExercisedError
from routerspec.repro.script import settings_of
from routerspec.repro.table import BOTH_SIDES
from tests.repro.relays import KEY, TIMEOUT_S, router

SOUND = "sound"
RETRYING = "sound, with a retry"
BROKEN = {
    "wire/ending": "two finishes",
    "wire/conventions": "no [DONE]",
    "wire/framing": "comments as data",
    "wire/text": "decoded by reads",
    "wire/finish-reason": "length as stop",
    "wire/choices": "one index",
    "wire/ids": "an id for each",
    "wire/extras": "no logprobs",
    "wire/failure-visible": "early head",
    "wire/first-delta": "buffered",
    "wire/http": "both lengths",
    "wire/keep-alive": "refused body unread",
    "answers/slow-stream": "total deadline",
    "tools/arrive": "one index",
    "tools/round-trip": "no ids of calls",
    "usage/told": "no usage",
    "request/body": "floats",
    "request/retry": "retry without body",
    "request/headers": "cookies",
    "request/stream-flag": "always streamed",
    "cache/answers": "errors cached",
    "errors/retry-after": "no Retry-After",
    "errors/client-errors": "breaker",
}
"""Check -> the defect of ``relays`` that its round shows."""
ROUTE = RoutePlan(
    name="openai", provider="openai", front="openai", path="", model="openai/fake-chat",
    nonsense_model="none", modes=("chat", "stream"), implied=False,
)  # fmt: skip
PORTS = {"openai": 0, "ollama": 0}
PLAN = LoadPlan(
    token="t", folder="", routes=(ROUTE,), headers={"Authorization": KEY}, list_path="/v1/models",
    promises=Promises(), scenarios=(), seed=1, secrets=DEFAULT_KEYS,
)  # fmt: skip


def played(check: str, defect: str, plan: LoadPlan = PLAN) -> bool | str:
    """What the round returned, or why it was not exercised."""
    round_ = BOTH_SIDES[check].round
    assert round_ is not None
    settings = Settings(cap=4, models_ttl_s=None, timeout_s=TIMEOUT_S)
    read = settings_of(round_, plan, settings, None, {})
    with Lab(read | {"ports": PORTS}) as lab, router(defect, lab.providers[0].url) as server:
        lab.url = server.url
        try:
            return round_.play(lab, **round_.parameters)
        except NotExercisedError as error:
            return str(error)
        finally:
            for provider in lab.providers:
                provider.shutdown()
                provider.server_close()


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[tuple[str, str], bool | str]]:
    """All rounds against both routers, a few side by side: they mostly wait."""
    sound = {"request/retry": RETRYING}
    jobs = [(c, d) for check, bad in BROKEN.items() for c, d in ((check, bad), (check, SOUND))]
    with ThreadPoolExecutor(8) as pool:
        given = [(check, sound.get(check, d) if d == SOUND else d) for check, d in jobs]
        found = pool.map(lambda job: played(*job), given)
        yield dict(zip(jobs, found, strict=True))


def test_every_round_has_a_defect() -> None:
    assert set(BROKEN) == {check for check, repro in BOTH_SIDES.items() if repro.round}


@pytest.mark.parametrize(("check", "defect"), BROKEN.items())
def test_a_round_sees_its_defect(
    check: str, defect: str, outcomes: dict[tuple[str, str], bool | str]
) -> None:
    assert outcomes[check, defect] is True


@pytest.mark.parametrize("check", BROKEN)
def test_a_round_sees_none_in_a_sound_router(
    check: str, outcomes: dict[tuple[str, str], bool | str]
) -> None:
    assert outcomes[check, SOUND] is False
