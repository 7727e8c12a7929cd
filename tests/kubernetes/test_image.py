"""The Containerfile: its steps carried out in a fresh environment, and what starts in the image."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from tests.support.containerfile import Image, build, instructions
from tests.support.manifests import FOLDER, ROOT

TEXT = (FOLDER / "Containerfile").read_text()
STEPS = list(instructions(TEXT))
SECRETS = {"routerspec-fakes/token": "a-token-of-a-test"}
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
