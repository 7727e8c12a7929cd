"""The JSON bodies that the control API accepts. Unknown fields are rejected; omitted ones stay."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from fake_providers.calls.model_lists import Nonsense
from fake_providers.prompt.behaviour import MAX_TOKENS, MAX_WAIT_S
from fake_providers.prompt.instances import NAME_PATTERN

MAX_NUMBER = 2**53
"""The largest integer that every JSON client writes exactly."""

ProviderName = Annotated[str, Meta(pattern=NAME_PATTERN)]
"""Without a number: all instances of the provider. One that is not served is changed in vain."""
Seconds = Annotated[float, Meta(ge=0, le=MAX_WAIT_S)]
Natural = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
Positive = Annotated[int, Meta(ge=1, le=MAX_NUMBER)]
Secret = Annotated[str, Meta(min_length=4, max_length=1000)]
SecretName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Secrets = dict[SecretName, Secret]


class Refusal(Struct, frozen=True):
    """Every error of the control API."""

    detail: str


class Release(Struct, frozen=True, forbid_unknown_fields=True):
    """How many calls to release."""

    count: Positive = 1


class ListsChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of the model lists."""

    provider: ProviderName | None = None
    epoch: Natural | UnsetType = UNSET
    hold_next: Natural | UnsetType = UNSET
    delay_s: Seconds | UnsetType = UNSET
    status: Annotated[int, Meta(ge=400, le=599)] | UnsetType | None = UNSET
    nonsense: Nonsense | UnsetType | None = UNSET
    moving: bool | UnsetType = UNSET


class ListsRelease(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose held fetches to release: one provider's, or all."""

    provider: ProviderName | None = None


class DefaultChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of the default behaviour."""

    first_s: Seconds | UnsetType = UNSET
    gap_s: Seconds | UnsetType = UNSET
    tokens: Annotated[int, Meta(ge=0, le=MAX_TOKENS)] | UnsetType = UNSET


class NewRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Directives for the requests that it matches."""

    wants: Annotated[str, Meta(max_length=1000)] = ""
    provider: ProviderName | None = None
    model: Annotated[str, Meta(max_length=200)] | None = None
    times: Positive | None = None
    body: Annotated[str, Meta(max_length=1_000_000)] | None = None
    headers: Annotated[dict[str, str], Meta(max_length=50)] = {}


class Transcripts(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether calls are recorded with their bytes."""

    on: bool


class Connections(Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds after which an idle connection is closed; null: never."""

    keep_s: Seconds | None


class Listening(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a provider accepts connections."""

    on: bool
    provider: ProviderName | None = None


class Accepting(Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds during which nothing is read from a new connection."""

    delay_s: Seconds
    provider: ProviderName | None = None


def changes(body: Struct) -> dict[str, Any]:
    """The given fields, without the provider whom they concern."""
    given = {name: getattr(body, name) for name in body.__struct_fields__ if name != "provider"}
    return {name: value for name, value in given.items() if value is not UNSET}
