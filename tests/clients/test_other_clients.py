"""Clients that do not come with the tests: older SDKs, TypeScript's, Claude Code.

Python's are installed into an environment of their own. Packages of npm are looked for in the
folder that ROUTERSPEC_NODE_MODULES names, else among the global ones.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_providers.prompt.directives import token
from tests.clients.stack import MESSAGES, RUN, Place, Stack

pytestmark = pytest.mark.slow

PATIENCE_S = 120
OLD_CLIENT = """
import json, sys, anthropic
url, model, prompt = sys.argv[1:]
client = anthropic.Anthropic(base_url=url, api_key="any", max_retries=0, timeout=10)
fields = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": prompt}]}
whole = client.messages.create(**fields)
with client.messages.stream(**fields) as stream:
    final = stream.get_final_message()
print(json.dumps([anthropic.__version__, whole.content[0].text, final.content[0].text]))
"""
TYPESCRIPT_CLIENT = """
const { Anthropic } = require("@anthropic-ai/sdk");
const [url, model, prompt, cut] = process.argv.slice(1);
const client = new Anthropic({ baseURL: url, apiKey: "any", maxRetries: 0, timeout: 10000 });
const ask = (content) => ({ model, max_tokens: 100, messages: [{ role: "user", content }] });
(async () => {
  const whole = await client.messages.create(ask(prompt));
  const final = await client.messages.stream(ask(prompt)).finalMessage();
  let raised = "";
  try { await client.messages.stream(ask(cut)).finalMessage(); } catch (error) { raised = "yes"; }
  console.log(JSON.stringify([raised, whole.content[0].text, final.content[0].text]));
})();
"""


@pytest.fixture(params=["direct", "claude", "claude-openai"])
def place(stack: Stack, request: pytest.FixtureRequest) -> Place:
    return stack.place(request.param, MESSAGES[request.param], "anthropic")


@pytest.fixture(scope="module", params=["<1", ">=1,<2"])
def old_python(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Path]:
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    folder = tmp_path_factory.mktemp("old") / "venv"
    python = folder / "bin" / "python"
    install = ["uv", "pip", "install", "-q", "--python", str(python), f"anthropic{request.param}"]
    for command in (["uv", "venv", "-q", str(folder)], install):
        ran = subprocess.run(command, check=False, capture_output=True, text=True)
        if ran.returncode:
            pytest.skip(f"anthropic{request.param} cannot be installed: {ran.stderr[-200:]}")
    yield python
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def node_modules() -> Path:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    found = os.environ.get("ROUTERSPEC_NODE_MODULES")
    return Path(found or _output(["npm", "root", "-g"], {}).strip())


def _output(command: list[str], env: dict[str, str], cwd: Path | None = None) -> str:
    ran = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], **env},
        cwd=cwd,
        timeout=PATIENCE_S,
        stdin=subprocess.DEVNULL,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def prompt(nonces: Iterator[int], **directives: Any) -> str:
    return token(RUN, next(nonces), **directives)


def test_older_sdks_of_python(old_python: Path, place: Place, nonces: Iterator[int]) -> None:
    command = [str(old_python), "-c", OLD_CLIENT, place.url, place.model, prompt(nonces)]
    version, *texts = json.loads(_output(command, {}))
    assert version.partition(".")[0] in {"0", "1"}
    assert all("#end4-" in text for text in texts)


def test_the_sdk_of_typescript(node_modules: Path, place: Place, nonces: Iterator[int]) -> None:
    if not (node_modules / "@anthropic-ai" / "sdk").is_dir():
        pytest.skip("@anthropic-ai/sdk is not installed")
    asked = [prompt(nonces), prompt(nonces, clean=2)]
    command = ["node", "-e", TYPESCRIPT_CLIENT, place.url, place.model, *asked]
    raised, *texts = json.loads(_output(command, {"NODE_PATH": str(node_modules)}))
    assert all("#end4-" in text for text in texts)
    assert raised, "a stream without its end is an error"


@pytest.mark.parametrize("directives", [{}, {"error": 2, "attempts": 1}])
def test_claude_code(
    node_modules: Path,
    place: Place,
    nonces: Iterator[int],
    tmp_path: Path,
    directives: dict[str, Any],
) -> None:
    claude = shutil.which("claude", path=node_modules / ".bin") or shutil.which("claude")
    if claude is None:
        pytest.skip("@anthropic-ai/claude-code is not installed")
    env = {
        "HOME": str(tmp_path),
        "ANTHROPIC_BASE_URL": place.url,
        "ANTHROPIC_API_KEY": "sk-made-up",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    asked = ["-p", prompt(nonces, **directives), "--model", place.model, "--output-format", "json"]
    said = json.loads(_output([claude, *asked], env, tmp_path))
    assert (said["is_error"], said["num_turns"]) == (False, 1)
    assert f"@{place.provider}-" in said["result"]
    assert "#end4-" in said["result"]
