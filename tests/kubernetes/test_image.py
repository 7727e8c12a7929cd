"""The Containerfile: its steps carried out in a fresh environment, and what starts in the image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from routerspec.processes.ports import free_port
from tests.support.containerfile import Image, build, instructions
from tests.support.manifests import (
    FOLDER,
    ROOT,
    documents,
    named,
    pod,
    variables,
    words,
)

TEXT = (FOLDER / "Containerfile").read_text()
OFFLINE = {
    "PIP_NO_DEPS": "1",
    "PIP_NO_INDEX": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip's own sense of a negated option
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
"""pip takes what the wheel needs, and what builds it, from where it lies already."""


def lend(image: Image) -> None:
    """Have its environment find what is installed here."""
    for packages in image.root.glob("opt/routerspec/lib/python*/site-packages"):
        (packages / "what-it-needs.pth").write_text(sysconfig.get_path("purelib") + "\n")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Built without the network: what is installed here stands in for what pip would fetch."""
    return build(TEXT, ROOT, tmp_path_factory.mktemp("image"), OFFLINE, lend)


def test_its_steps_install_this_project(image: Image) -> None:
    """Nothing of the build stage is left but what was copied."""
    assert not image.path("/build").exists()
    script = "import fake_providers, reference_router, routerspec as r; print(r.__file__)"
    done = image.run("python", "-P", "-c", script)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout).is_relative_to(image.root / "opt")
    assert image.path("/opt/routerspec/locustfile.py").is_file()


def test_it_runs_our_command(image: Image) -> None:
    done = image.run(*image.entrypoint, *image.command)
    assert done.returncode == 0, done.stderr
    assert "verify" in done.stdout


def test_its_user_is_a_number_that_is_not_root() -> None:
    """Kubernetes cannot tell whether a name is root."""
    (user,) = [one.rest for one in instructions(TEXT) if one.name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    last = [one.name for one in instructions(TEXT)]
    assert "RUN" not in last[last.index("USER") :]


# The containers of the base for real, in an image with all that pip fetches. Slow.

SECRETS = {"routerspec-fakes/token": "a-token-of-a-test"}
SHORT = {"--run-time=60s": "--run-time=12s", "--rs-models-ttl=5": "--rs-models-ttl=1"}
TTL = {"ROUTER_MODELS_CACHE_TTL_S": "1"}


class Cluster:
    """One machine that plays the nodes: services are ports of it that were free."""

    def __init__(self, image: Image, folder: Path, **extra: str) -> None:
        shutil.rmtree(image.path("/evidence"), ignore_errors=True)  # as emptyDir is in a new pod
        self.image = image
        self.folder = folder
        self._extra = extra
        services = [one for one in documents() if one["kind"] == "Service"]
        self.ports = {p["port"]: free_port() for one in services for p in one["spec"]["ports"]}
        self._names = {one["metadata"]["name"] for one in services}

    def here(self, text: str) -> str:
        """A word of a container, with its names, ports and paths leading here."""
        names = "|".join(self._names)
        text = re.sub(rf"\b({names})(?=:\d|$)", "127.0.0.1", text.replace("0.0.0.0", "127.0.0.1"))
        ports = "|".join(map(str, self.ports))
        text = re.sub(rf"\b({ports})\b", lambda found: str(self.ports[int(found[1])]), text)
        return self.image.here(SHORT.get(text, text))

    @contextmanager
    def up(self, container: dict[str, Any], log: str) -> Iterator[subprocess.Popen[bytes]]:
        """A container until it is no longer needed."""
        env = {name: self.here(text) for name, text in variables(container, SECRETS).items()}
        for mount in container.get("volumeMounts", []):
            self.image.path(mount["mountPath"]).mkdir(parents=True, exist_ok=True)
        with (self.folder / log).open("wb") as output:
            child = subprocess.Popen(
                [self.here(word) for word in words(container, SECRETS)],
                cwd=self.image.path(""),
                env={**self.image.environment, **env, **self._master(), **self._extra},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield child
        finally:
            child.terminate()
            child.wait(60)

    def _master(self) -> Mapping[str, str]:
        port = str(self.ports[5557])
        return {"LOCUST_MASTER_BIND_PORT": port, "LOCUST_MASTER_NODE_PORT": port}

    def said(self, log: str) -> str:
        return (self.folder / log).read_text(errors="replace")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Built as it is built anywhere: pip fetches what it needs."""
    return build(TEXT, ROOT, tmp_path_factory.mktemp("whole"), pip_settings())


def pip_settings() -> dict[str, str]:
    """Where pip fetches from on this machine."""
    return {name: text for name, text in os.environ.items() if name.startswith("PIP_")}


def main_container(kind: str, name: str) -> dict[str, Any]:
    spec = pod(named(kind, name))
    assert spec is not None
    found: dict[str, Any] = spec["containers"][0]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("flaw", "status"), [("", 0), ("provider-outside-cap", 1)])
def test_the_job_ends_with_the_exit_code_of_the_verdict_and_keeps_the_run(
    whole: Image, flaw: str, status: int, tmp_path: Path
) -> None:
    cluster = Cluster(whole, tmp_path, **TTL, ROUTER_FLAW=flaw)
    kept = whole.path("/runs")
    before = set(kept.glob("*"))
    with ExitStack() as stack:
        for name in ("fakes", "router"):
            stack.enter_context(cluster.up(main_container("Deployment", name), f"{name}.log"))
        (waits,) = pod(named("Job", "locust-master"))["initContainers"]  # type: ignore[index]
        with cluster.up(waits, "wait.log") as waiting:
            assert waiting.wait(30) == 0, cluster.said("wait.log")
        workers = [
            stack.enter_context(
                cluster.up(main_container("Job", "locust-workers"), f"worker-{number}.log")
            )
            for number in (1, 2)
        ]
        master = stack.enter_context(
            cluster.up(main_container("Job", "locust-master"), "master.log")
        )
        ended = master.wait(120)
        said = cluster.said("master.log")
        assert ended == status, said[-3000:]
        assert [worker.wait(60) for worker in workers] == [0, 0], cluster.said("worker-1.log")
    (run,) = set(kept.glob("*")) - before
    judged = whole.run("routerspec", "judge", str(run))
    assert judged.returncode == status, judged.stdout
    assert len(list(run.glob("starts/*/observations*.jsonl"))) == 3
