"""The tables of a target file as pydantic models, and the JSON Schema that editors read.

Decides keys, types and bounds; those of promises are in ``promises``. Refuses to know how a fault
is reported, where target files are kept, and what is done with a target.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, get_args

from annotated_types import Ge, Le, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from routerspec.promises import Matches, Promises
from routerspec.targets.records import (
    IMPLIED_MODES,
    MODES,
    MOST_INSTANCES,
    Command,
    Documented,
    Fallback,
    Filled,
    Front,
    Mode,
    Provider,
    Route,
    Service,
    Start,
    Target,
    Url,
)

NONE: Final = "none"
"""In place of an optional table: takes away the one that a variant inherits."""

Name = Annotated[str, Matches(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
HeaderName = Annotated[str, Matches(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
HeaderValue = Annotated[str, Matches(r"^[^\r\n]*$")]
Headers = dict[HeaderName, HeaderValue]


def _named_once(services: tuple[Service, ...]) -> tuple[Service, ...]:
    names = [service.name for service in services]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"names the service {name!r} twice")
    return services


def _each_once(modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
    if len(set(modes)) < len(modes):
        raise ValueError("names a mode twice")
    return modes


Modes = Annotated[
    tuple[Mode, ...],
    MinLen(1),
    AfterValidator(_each_once),
    Field(json_schema_extra={"uniqueItems": True}),
]


class Table(BaseModel):
    """A table whose keys are all known; the records within it are read by the same rules."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class Version(Table):
    """How to find out which version is installed."""

    command: Command
    """The first line of its output is the version."""


class Client(Table):
    """What every client sends."""

    key: Filled = "{client_key}"
    """Bearer token of every request; "none": no Authorization header."""
    headers: Headers = {}
    """More headers."""


def _modes_by_front() -> list[Any]:
    """Which modes a front can have, as JSON Schema."""
    return [
        {
            "if": {"properties": {"front": {"const": front}}, "required": ["front"]},
            "then": {"properties": {"modes": {"items": {"enum": list(modes)}}}},
        }
        for front, modes in MODES.items()
        if set(modes) != set(get_args(Mode))
    ]


class RouteTable(Table):
    """A route in its long form."""

    model_config = ConfigDict(json_schema_extra={"allOf": _modes_by_front()})

    model: Filled
    """Model id to request; {model} is the provider's own name for it."""
    provider: Provider | None = None
    """The provider that this route leads to; default: the one of its name, then "anthropic" for
    a front of that name, then "openai"."""
    front: Front = "openai"
    """Dialect that clients speak to the router."""
    path: Annotated[str, Matches(r"^(/.*[^/])?$")] = ""
    """Path in front of the dialect's own paths, as in /openai."""
    modes: Modes | None = None
    """What the route supports. A mode that is listed and does not work fails the smoke run."""
    headers: Headers = {}
    """Headers of this route's requests."""
    fallbacks: tuple[Fallback, ...] = ()
    """Who serves it where its provider fails, in the order in which they are tried."""

    @field_validator("modes")
    @classmethod
    def _of_its_front(
        cls, modes: tuple[Mode, ...] | None, given: ValidationInfo
    ) -> tuple[Mode, ...] | None:
        front: Front | None = given.data.get("front")  # Not there where it is wrong itself.
        if front is None or not (foreign := set(modes or ()).difference(MODES[front])):
            return modes
        raise ValueError(
            f'names {", ".join(sorted(foreign))}, which front = "{front}" does not have: its modes '
            f"are {', '.join(MODES[front])}"
        )


def _form(value: object) -> str:
    return "short" if isinstance(value, str) else "long"


RouteForms = Annotated[
    Annotated[Filled, Tag("short")] | Annotated[RouteTable, Tag("long")], Discriminator(_form)
]


class Instances(Table):
    """The servers of one provider."""

    instances: Annotated[int, Ge(1), Le(MOST_INSTANCES)] = 1
    """How many there are; their URLs are {openai_url}, {openai_url_2} ..., all: {openai_urls}."""


class Known(Table):
    """A violation that the router's maintainers know about: reported, not counted."""

    check: Annotated[str, Matches(r"^[a-z]+/[a-z0-9-]+$")]
    """Id of the check."""
    issue: Url
    """The public issue or document."""


class Body(Table):
    """All of a target file but its variants."""

    name: Name
    """Name of the router, also in folders of results."""
    homepage: str = ""
    install: str = ""
    """How to install it; shown when it is missing."""
    version: Version | None = None
    start: Start | None = None
    """How to start the router; without it, it must be running already (--url)."""
    client: Client = Client()
    routes: Annotated[dict[Name, RouteForms], MinLen(1)]
    """NAME = "MODEL", where NAME is a provider, or a table [routes.NAME]."""
    providers: dict[Provider, Instances] = {}
    """Providers with several servers, as in [providers.openai]."""
    service: Annotated[tuple[Service, ...], AfterValidator(_named_once)] = ()
    """What the router needs beside its providers, each with [[service]]."""
    promises: Promises = Promises()
    """What the router claims. Only promises are judged."""
    known: tuple[Known, ...] = ()
    """Violations that the router's maintainers know about."""
    documented: tuple[Documented, ...] = ()
    """Promises in the words of the router's documentation."""

    def target(self, variant: str) -> Target:
        """The record that the harness works with."""
        return Target(
            name=self.name,
            variant=variant,
            homepage=self.homepage,
            install=self.install,
            version_command=self.version.command if self.version else (),
            start=self.start,
            client_key=self.client.key,
            client_headers=self.client.headers,
            routes=tuple(_route(name, form) for name, form in self.routes.items()),
            promises=self.promises,
            known={known.check: known.issue for known in self.known},
            documented=self.documented,
            instances={name: table.instances for name, table in self.providers.items()},
            services=self.service,
        )


_PROVIDERS: Final[dict[str, Provider]] = {name: name for name in get_args(Provider)}


def _route(name: str, form: str | RouteTable) -> Route:
    table = RouteTable(model=form) if isinstance(form, str) else form
    of_front: Provider | None = "anthropic" if table.front == "anthropic" else None
    stated = table.provider or _PROVIDERS.get(name) or of_front
    return Route(
        name=name,
        provider=stated or "openai",
        front=table.front,
        path=table.path,
        model=table.model,
        modes=table.modes or IMPLIED_MODES[table.front],
        implied=table.modes is None,
        headers=table.headers,
        provider_stated=stated is not None,
        fallbacks=table.fallbacks,
    )


class File(Body):
    """A routerspec target: how to start a router, how to reach its providers, what it promises."""

    variant: dict[Name, dict[str, Any]] = {}
    """Merged over the rest of the file: TARGET:NAME."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of target files, for editors. Variants are partial files."""
    schema = File.model_json_schema(schema_generator=_TomlSchema)
    tables = schema["$defs"]
    variant = _partial(Body.model_json_schema(schema_generator=_TomlSchema))
    del variant["$defs"]
    tables |= {f"Partial{name}": _partial(table) for name, table in tables.items()}
    tables["PartialFile"] = variant | {"description": "What differs from the rest of the file."}
    of_variants = schema["properties"]["variant"]["patternProperties"]
    of_variants |= {pattern: {"$ref": "#/$defs/PartialFile"} for pattern in of_variants}
    text = json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    described: dict[str, Any] = json.loads(text.replace("``", "`"))
    return described


class _TomlSchema(GenerateJsonSchema):
    """TOML has no null: a scalar is left out, an optional table is taken away with "none"."""

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        """A scalar, or a table and what takes it away."""
        inner = self.generate_inner(schema["schema"])
        return {"anyOf": [inner, {"const": NONE}]} if "$ref" in inner else inner

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        """Defaults that can be written down."""
        described = super().default_schema(schema)
        return {k: v for k, v in described.items() if k != "default" or v not in (None, {}, [])}

    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        """A table with keys of the author's own choice, which all keep the pattern or the names."""
        described = super().dict_schema(schema)
        return {"additionalProperties": False, **described}

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never: keys need no other name."""
        return False


def _partial(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of what may be merged over such a table: nothing in it is required."""
    made = {k: v for k, v in schema.items() if k not in {"required", "minProperties"}}
    if "$ref" in made:
        made["$ref"] = made["$ref"].replace("#/$defs/", "#/$defs/Partial")
    for union in {"anyOf", "oneOf"} & made.keys():
        made[union] = [_partial(each) for each in made[union]]
    if isinstance(made.get("additionalProperties"), dict):
        made["additionalProperties"] = _partial(made["additionalProperties"])
    for keys in {"properties", "patternProperties"} & made.keys():
        made[keys] = {name: _partial(each) for name, each in made[keys].items()}
    return made
