"""The JSON Schema of target files, for editors: it agrees with the reader on every file."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

import routerspec.targets
from routerspec.promises import PromiseName, Promises
from routerspec.targets import builtin_targets
from routerspec.targets.schema import json_schema
from tests.targets.test_schema import FULL, SMALL

FOLDER = Path(routerspec.targets.__file__).parent
SCHEMA: dict[str, Any] = json.loads((FOLDER / "target.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_committed_schema_is_the_generated_one() -> None:
    """Made by ``routerspec targets --schema``."""
    assert json_schema() == SCHEMA
    VALIDATOR.check_schema(SCHEMA)


@pytest.mark.parametrize("name", builtin_targets())
def test_every_built_in_target_names_the_schema_and_keeps_it(name: str) -> None:
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("#:schema ./target.schema.json\n")
    document = tomllib.loads(text)
    VALIDATOR.validate(document)
    partial = VALIDATOR.evolve(schema={"$ref": "#/$defs/PartialFile"} | {"$defs": SCHEMA["$defs"]})
    for changes in document.get("variant", {}).values():
        partial.validate(changes)


def test_short_and_long_routes_variants_and_promises_taken_away_are_valid() -> None:
    VALIDATOR.validate(tomllib.loads(FULL))
    VALIDATOR.validate(tomllib.loads(SMALL + '[promises]\ncap = "none"\n'))
    changes = 'promises.retries = "none"\nroutes.agent.path = "/x"\nversion = "none"\n'
    changes += "providers.openai.instances = 3\n"
    VALIDATOR.validate(tomllib.loads(FULL + changes))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("homepage =", "homepge ="),
        ('name = "my-router"\n', ""),
        ('name = "my-router"', 'name = "my/router"'),
        ("limit = 4", "limit = 0"),
        ("limit = 4", "limt = 4"),
        ("[429]", "[200]"),
        ('scope = "provider"', 'scope = "provder"'),
        ("cancel = { within_s = 1.0 }", 'cancel = "non"'),
        ("ttl_s = 2, ", ""),
        ('keys = "passthrough"', 'keys = "none"'),
        ('ready = "/health"', 'ready = "health"'),
        ('"config.yaml" =', '"../config.yaml" ='),
        ("OPENAI_API_KEY", '"OPENAI-KEY"'),
        ("X-Team", '"X Team"'),
        ('ollama = "ollama/{model}"', "ollama = 3"),
        ('ollama = "ollama/{model}"', 'ollama = { front = "ollama" }'),
        ('"chat", "stream"', '"chat", "strem"'),
        ('"chat", "stream"', '"chat", "chat"'),
        ('"chat", "stream"', '"chat", "tools"'),
        ('check = "cancel', 'check = "Cancel'),
        ('overload = "reject"', 'overload = "drop"'),
        ("start.env.MODE", "start.enw.MODE"),
        ("start.env.MODE", "variant.x.name"),
    ],
)
def test_the_schema_rejects_what_the_reader_rejects(old: str, new: str) -> None:
    assert old in FULL
    assert not VALIDATOR.is_valid(tomllib.loads(FULL.replace(old, new, 1)))


def test_every_promise_can_be_documented() -> None:
    assert get_args(PromiseName) == tuple(Promises.__dataclass_fields__)
