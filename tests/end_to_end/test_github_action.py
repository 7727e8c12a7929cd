"""The GitHub Action: its shape, and its script as a runner executes it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from routerspec import cli
from tests.support.wheel import ROOT

ACTION = ROOT / ".github" / "actions" / "verify" / "action.yml"
WORDS = ACTION.parent / "README.md"
EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
WORD = re.compile(r"(?<!-)--[a-z][a-z-]+")


def action() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    return read


def test_it_is_a_composite_action_with_every_input_described() -> None:
    its = action()
    assert its["runs"]["using"] == "composite"
    for name, one in its["inputs"].items():
        assert re.fullmatch(r"[a-z][a-z-]*", name)
        assert one["description"].endswith(".")
        assert one.get("required") or isinstance(one["default"], str)
    assert its["name"]
    assert its["description"]


def test_every_step_runs_in_bash_or_uses_a_released_action() -> None:
    for step in action()["runs"]["steps"]:
        if "run" in step:
            assert step["shell"] == "bash"
        else:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])


def test_every_input_is_used_and_no_other_is_named() -> None:
    named = set(re.findall(r"inputs\.([a-z-]+)", ACTION.read_text(encoding="utf-8")))
    assert named == set(action()["inputs"])


def test_no_script_has_an_expression_pasted_into_it() -> None:
    """Input from outside reaches a script as a variable: it is never part of the script's text."""
    for step in action()["runs"]["steps"]:
        assert not EXPRESSION.search(step.get("run", ""))


def test_every_step_that_is_referred_to_is_there() -> None:
    its = action()
    ids = {step["id"] for step in its["runs"]["steps"] if "id" in step}
    text = ACTION.read_text(encoding="utf-8")
    assert set(re.findall(r"steps\.([a-z-]+)\.", text)) == ids
    assert "steps.verify.outputs.verdict" in its["outputs"]["verdict"]["value"]


def test_its_options_are_options_of_the_command_line() -> None:
    (script,) = (s["run"] for s in action()["runs"]["steps"] if s.get("id") == "verify")
    parser = cli.parser()
    for command in ("verify t --runs r --only cap --baseline b --max-overhead-ratio 2",):
        assert callable(parser.parse_args(command.split()).command)
        for word in WORD.findall(command):
            assert word in script


FAKE = """#!{python}
import sys
words = sys.argv[1:]
print("CALLED", words, file=sys.stderr)
if words[0] == "verify":
    from pathlib import Path
    for name in ("run-1", "run-2"):
        run = Path(words[words.index("--runs") + 1], name)
        run.mkdir(parents=True)
        (run / "verdict.json").write_text('{{"checks": []}}')
    if "--baseline" in words:
        (run.parent / "run-1" / "comparison.md").write_text("the comparison\\n")
    sys.exit({status})
"""


def scripted(
    folder: Path, status: int, **inputs: str
) -> tuple[subprocess.CompletedProcess[str], str]:
    """The verify step as a runner starts it, with a stub in place of our command."""
    command = folder / "routerspec" / "bin" / "routerspec"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(FAKE.format(python=sys.executable, status=status))
    command.chmod(0o755)
    (script,) = (s["run"] for s in action()["runs"]["steps"] if s.get("id") == "verify")
    (folder / "step.sh").write_text(script)
    files = {name: str(folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    given = {"TARGET": "./my router.toml", "ONLY": "", "BASELINE": "", "RATIO": "1.5"} | inputs
    done = subprocess.run(
        ("bash", "--noprofile", "--norc", "-eo", "pipefail", "step.sh"),
        cwd=folder,
        env=os.environ | files | given | {"RUNNER_TEMP": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    summary = folder / "GITHUB_STEP_SUMMARY"
    return done, summary.read_text() if summary.exists() else ""


def test_the_exit_status_is_that_of_verify_and_the_verdict_is_handed_on(tmp_path: Path) -> None:
    for status in (0, 1, 3, 4):
        folder = tmp_path / str(status)
        done, summary = scripted(folder, status)
        assert done.returncode == status, done.stderr
        assert "'./my router.toml'" in done.stderr
        assert "--baseline" not in done.stderr
        assert summary == ""
        work, verdict = (folder / "GITHUB_OUTPUT").read_text().splitlines()
        assert verdict == f"verdict={work.removeprefix('work=')}/runs/run-1/verdict.json"
        assert json.loads(Path(verdict.removeprefix("verdict=")).read_text()) == {"checks": []}


def test_a_job_that_verifies_twice_keeps_both(tmp_path: Path) -> None:
    for _ in range(2):
        scripted(tmp_path, 0)
    lines = (tmp_path / "GITHUB_OUTPUT").read_text().splitlines()
    assert len({line for line in lines if line.startswith("verdict=")}) == 2


WORKFLOWS = [
    text
    for page in (ROOT / "README.md", WORDS)
    for text in re.findall(r"(?s)```yaml\n(.*?)```", page.read_text())
]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_the_workflows_to_copy_say_what_the_action_understands(workflow: str) -> None:
    (job,) = yaml.safe_load(workflow)["jobs"].values()
    uses = [step for step in job["steps"] if "/.github/actions/verify" in step.get("uses", "")]
    assert uses
    for step in uses:
        assert set(step["with"]) <= set(action()["inputs"])
        assert "target" in step["with"]
        assert step["uses"] == "./vendor/routerspec/.github/actions/verify"
    assert all(
        step["with"]["submodules"] for step in job["steps"] if "checkout" in step.get("uses", "")
    )


def test_action_and_workflows_are_valid_by_the_schemas_of_github(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.yml" for number in range(len(WORKFLOWS))]
    for file, text in zip(files, WORKFLOWS, strict=True):
        file.write_text(text)
    assert len(files) == 3
    for schema, names in (("github-actions", [ACTION]), ("github-workflows", files)):
        checked = subprocess.run(
            (
                sys.executable,
                "-m",
                "check_jsonschema",
                "--builtin-schema",
                f"vendor.{schema}",
                *names,
            ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_with_a_baseline_the_comparison_is_shown(tmp_path: Path) -> None:
    done, summary = scripted(tmp_path, 1, BASELINE="old.json", ONLY="cap")
    assert done.returncode == 1
    assert "'--baseline', 'old.json'" in done.stderr
    assert summary == "the comparison\n"


# The steps for real, as GitHub's runner starts them: inputs put in, its files, its variables.

PYTHON = {"steps.python.outputs.python-path": sys.executable}


def run_steps(folder: Path, **inputs: str) -> tuple[int, str, dict[str, str], str]:
    """Every ``run`` step in turn until one fails: exit status, log, outputs, summary.

    What only the router under test knows (its flaw, its checks) comes in by the inputs, as a
    workflow would give it. ``uses`` steps are GitHub's own and not played.
    """
    its = action()
    given = {name: one.get("default", "") for name, one in its["inputs"].items()} | inputs
    values = PYTHON | {f"inputs.{name}": value for name, value in given.items()}
    files = {name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for file in files.values():
        file.touch()
    runner = {name: str(path) for name, path in files.items()} | {
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION_PATH": str(ACTION.parent),
        "RUNNER_TEMP": str(folder / "temp"),
    }
    (folder / "temp").mkdir()
    log, status = "", 0
    for step in (step for step in its["runs"]["steps"] if "run" in step):
        script = folder / "step.sh"
        script.write_text(step["run"])
        own = {
            name: EXPRESSION.sub(lambda named: values[named[1].strip()], value)
            for name, value in step["env"].items()
        }
        done = subprocess.run(
            ("bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)),
            cwd=folder,
            env=os.environ | runner | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=170,
            check=False,
        )
        log, status = log + done.stdout, done.returncode
        if status:
            break
    outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    return status, log, outputs, files["GITHUB_STEP_SUMMARY"].read_text()


FLAWED = """
name = "mine"
[start]
command = ["python", "-m", "reference_router", "--port", "{port}"]
ready = "/health"
[start.env]
ROUTER_MAX_CONCURRENCY = "{cap}"
ROUTER_OPENAI_URL = "{openai_url}"
ROUTER_OLLAMA_URL = "{ollama_url}"
ROUTER_FLAW = "ITS-FLAW"
[routes]
openai = "openai/{model}"
[promises]
cap = { limit = 4, overload = "queue" }
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flaw", "status", "outcome"), [("", 0, "held"), ("permit-freed-at-head", 1, "violated")]
)
def test_its_steps_do_what_they_say(flaw: str, status: int, outcome: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(FLAWED.replace("ITS-FLAW", flaw))
    got, log, outputs, summary = run_steps(tmp_path, target="./mine.toml", only="cap/streams")
    assert got == status, log
    verdict = json.loads(Path(outputs["verdict"]).read_text())
    assert {c["id"]: c["outcome"] for c in verdict["checks"]} == {"cap/streams": outcome}
    assert "cap/streams" in summary
    assert ("violated" in summary) == (outcome == "violated")
    annotations = [line for line in log.splitlines() if line.startswith("::error")]
    assert bool(annotations) == (outcome == "violated")
    assert all("cap/streams" in line for line in annotations)
    assert Path(outputs["work"]) in Path(outputs["verdict"]).parents


@pytest.mark.slow
def test_a_target_that_is_none_fails_the_step_with_the_reason(tmp_path: Path) -> None:
    got, log, outputs, summary = run_steps(tmp_path, target="./none.toml")
    assert got == 2
    assert "none.toml" in log
    assert "verdict" not in outputs
    assert summary == ""
