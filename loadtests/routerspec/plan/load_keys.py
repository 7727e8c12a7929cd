"""The keys of a load plan: references in its file, values in the environment of its process."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Final

import msgspec

from routerspec.records.load_plan import LoadPlan
from routerspec.records.placeholders import fill
from routerspec.scrub import SECRETS, filled

_VARIABLE: Final = "ROUTERSPEC_KEYS"


class _Keys(msgspec.Struct, frozen=True, kw_only=True):
    generated: dict[str, str]
    """Placeholder -> key of this run."""
    given: dict[str, str]
    """Reference -> key of the command line or of the target."""


def environment(keys: Mapping[str, str]) -> dict[str, str]:
    """What the load process gets beside its plan. ``keys``: of ``new_keys``."""
    told = _Keys(generated=dict(keys), given=SECRETS.named())
    return {_VARIABLE: msgspec.json.encode(told).decode()}


def encoded(plan: LoadPlan) -> bytes:
    """The plan as its file has it: with the names of the secrets that it refers to."""
    return msgspec.json.encode(referring(plan))


def referring(plan: LoadPlan) -> LoadPlan:
    """The plan with the names of the secrets that it refers to."""
    every = [plan.headers, *(route.headers for route in plan.routes)]
    names = SECRETS.references(text for headers in every for text in headers.values())
    return msgspec.structs.replace(plan, references=names)


def with_keys(plan: LoadPlan, env: MutableMapping[str, str]) -> LoadPlan:
    """The plan with its keys, which are taken out of ``env``: no child of this process gets them.

    From here on they are secrets of this process, too.
    """
    text = env.pop(_VARIABLE, "")
    if not text:
        return plan
    keys = msgspec.json.decode(text, type=_Keys)
    for name, key in (keys.given | keys.generated).items():
        SECRETS.add(name, key)
    opened_ = opened(plan, keys.generated, keys.given)
    return msgspec.structs.replace(opened_, secrets=keys.generated)


def opened(plan: LoadPlan, keys: Mapping[str, str], given: Mapping[str, str]) -> LoadPlan:
    """The plan with all headers as they are sent."""

    def sent(headers: Mapping[str, str]) -> dict[str, str]:
        return {name: filled(fill(text, keys), given) for name, text in headers.items()}

    replace = msgspec.structs.replace
    return replace(
        plan,
        headers=sent(plan.headers),
        routes=tuple(replace(route, headers=sent(route.headers)) for route in plan.routes),
        ways=tuple(
            replace(
                way,
                headers=sent(way.headers),
                route=replace(way.route, headers=sent(way.route.headers)),
            )
            for way in plan.ways
        ),
    )
