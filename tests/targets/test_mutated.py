"""Mutated target files: each is read, or refused in one line that names the place.

FUZZ=5000 pytest -m slow -s tests/targets/test_mutated.py
"""

from __future__ import annotations

import collections
import os
import random
import re
from pathlib import Path

import msgspec
import pytest

from routerspec import targets
from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from routerspec.plan.starts import MOST_USERS, plan_starts, route_plans, users_for
from routerspec.processes.router import router_command
from routerspec.records.run import RunInfo, Settings
from routerspec.targets import Target, read_target

SEEDS = [path.read_text() for path in sorted(Path(targets.__file__).parent.glob("*.toml"))]

VALUES = (
    '""', '"x"', '"none"', "0", "-1", "1", "1e308", "inf", "nan", "-inf", "9" * 26, "0x10", "true",
    "[]", "{}", "[1]", '["a"]', "[[]]", "{a=1}", "{limit=4}", "2020-01-01", "12:00:00", '"\\u0000"',
    '"\\n"', '"../../etc"', '"/etc/passwd"', '"{port}"', '"{dir}{dir}"', '"\\U0001F600"',
    f'"{"a" * 5000}"', "'''\nx\n'''", "4.5", "[429, 503, 200]", '[1,"a"]', '"http://x"', '"[/red]"',
    '"\\u001b[31m"', "1_000", '"chat"', '["chat","chat"]', '["chat","nope"]', '"openai"', "{max=1}",
    '"anthropic"', '"responses"', '["chat","tools"]',
    "{ttl_s=-1}", "{ttl_s=1e400}", "{within_s=nan}", "[" * 2000 + "]" * 2000,
)  # fmt: skip
KEYS = (
    "name", "start", "command", "env", "files", "ready", "routes", "promises", "cap", "limit",
    "model_list", "ttl_s", "cancel", "retries", "variant", "known", "documented", "client", "key",
    "headers", "model", "modes", "provider", "front", "path", "workers", "recovery_s", "x", '""',
    '"a.b"', '"a b"', '"\\u0000"', "scope", "queue_limit", "reject_status", "version", "homepage",
    "install", "keys", "rewrites", "max_body_bytes", "response_cache", "trace", "timeout",
)  # fmt: skip
HEADS = (
    "[{}]", "[[{}]]", "[routes.{}]", "[variant.{}]", "[variant.a.{}]", "[promises.{}]", "[start.{}]"
)  # fmt: skip
MARKS = (*"\"'=[]{}\0#,", "\ufeff", "\u2028", "'''", '"""')
NUMBERS = ("0", "-3", "9" * 20, "1e9", "1e-320", "nan")


def mutated(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines))
        line = lines[at]
        match rng.randrange(9):
            case 0 | 1 if "=" in line:
                lines[at] = f"{line.partition('=')[0]}= {rng.choice(VALUES)}"
            case 2 if "=" in line:
                lines[at] = f"{rng.choice(KEYS)} ={line.partition('=')[2]}"
            case 3:
                lines.insert(at, f"{rng.choice(KEYS)} = {rng.choice(VALUES)}")
            case 4:
                lines.insert(at, rng.choice(HEADS).format(rng.choice(KEYS)))
            case 5:
                lines = [*lines[:at], *lines[at + 1 :]] or [""]
            case 6:
                lines.insert(rng.randrange(len(lines)), line)
            case 7:
                place = rng.randrange(len(line) + 1)
                lines[at] = line[:place] + rng.choice(MARKS) + line[place:]
            case _:
                lines[at] = re.sub(r"\d+", lambda _: rng.choice(NUMBERS), line)
    return "\n".join(lines)


def used(target: Target) -> None:
    """What ``verify`` makes of a target before anything is started."""
    settings = Settings.as_promised(target.promises)
    info = RunInfo(
        run="a", target=target.title, version="", routerspec="", command="", seed=0, started_at="",
        promises=target.promises, routes=target.route_infos(), selected=(),
    )  # fmt: skip
    read_back = msgspec.json.decode(msgspec.json.encode(info), type=RunInfo)
    assert read_back.promises == target.promises
    try:
        assert users_for(target) <= MOST_USERS
    except UsageError:
        return
    route_plans(target, {})
    target.client_request_headers({})
    plan_starts(target, [check for check in REGISTRY.values() if not check.needs(target.promises)])
    if target.start:
        msgspec.json.encode(router_command(target, target.start, settings))


def fuzz(seed: int, count: int) -> dict[str, int]:
    rng = random.Random(seed)
    seen: collections.Counter[str] = collections.Counter()
    for _ in range(count):
        text = mutated(rng.choice(SEEDS), rng)
        try:
            target = read_target(text, "x.toml", rng.choice(("", "", "tuned", "a")))
        except UsageError as error:
            seen["refused"] += 1
            message = str(error)
            assert re.match(r"x\.toml(:\d+)?[: ]", message), (message, text)
            assert len(message) < 3000, (message, text)
        else:
            seen["read"] += 1
            used(target)
    return dict(seen)


def test_some_mutated_target_files() -> None:
    seen = fuzz(1, 200)
    assert min(seen["refused"], seen["read"]) > 20


@pytest.mark.slow
def test_thousands_of_mutated_target_files() -> None:
    print(fuzz(int(os.environ.get("SEED", "2")), int(os.environ.get("FUZZ", "5000"))))
