"""Whatever a run says, it is a constant in the script: the code is the same."""

from __future__ import annotations

import ast

import pytest

from routerspec.processes.router import router_command
from routerspec.records.load_plan import LoadPlan, RoutePlan
from routerspec.records.run import RouterCommand
from routerspec.repro.script import script_of, settings_of
from routerspec.repro.table import REPROS
from routerspec.targets import load_target
from tests.repro.scripts import settings_for
from tests.support.hostile import HOSTILE, PLAIN, with_texts

TEXTS = (
    PLAIN,
    HOSTILE,
    '"""\nimport os\n"""',
    "'''\\",
    '\\"""; exit() #',
    "router v1\r\nimport os\r",
    "\\N{BULLET}\\x41{title}%s",
)
ROUTE = RoutePlan(
    name="openai", provider="openai", front="openai", path="/base", model="a", nonsense_model="b",
    modes=("chat", "stream"), implied=False, headers={"X-A": "b"},
)  # fmt: skip
CHECKS = ("cap/streams", "answers/attempts", "models/cached", "keys/stay-home", "overload/answer")


def script(check: str, text: str) -> str:
    """The script with this text in every field that takes any."""
    target, settings = load_target("reference"), settings_for(check)
    assert target.start is not None
    plan = LoadPlan(
        token="t", folder="", control="", routes=(ROUTE,), headers={"A": "b", "C": "d"},
        list_path="/v1/models", promises=target.promises, scenarios=(), seed=1,
        secrets={"client_key": "k"}, references=("A",),
    )  # fmt: skip
    plan = with_texts(plan, text, keep=("provider", "front", "modes"))
    command: RouterCommand = router_command(target, target.start, settings)
    played = REPROS[check].round
    assert played is not None
    read = settings_of(played, plan, settings, with_texts(command, text), {})
    promised = "What must be so."
    return script_of(played, read, title=f"a {text}", promised=promised, by=text)


def code(source: str) -> str:
    """The tree of a script, all its texts blank."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("text", TEXTS[1:])
def test_text_of_a_run_changes_no_code(check: str, text: str) -> None:
    source = script(check, text)
    assert code(source) == code(script(check, PLAIN))
    constants = [
        node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)
    ]
    assert text in constants, "as it is, where the script needs it"
    document = ast.get_docstring(ast.parse(source)) or ""
    assert "import os" not in document
    assert all(line.isprintable() for line in source.split("\n"))
