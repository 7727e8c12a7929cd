"""A Containerfile, read and carried out without a container engine.

Each stage is built in one folder, which stands for ``/``: absolute paths lead into it. A finished
stage is moved away before the next begins, so that only what is copied from it is still there. The
base image is this machine: its ``python`` is the one that runs the tests. ``USER`` is kept and not
carried out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import string
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ABSOLUTE = re.compile(r"(?<![\w./:-])/(?=\w)|(?<=[\w}]:)/(?=\w)")
"""The first slash of an absolute path, also behind the colon of a PATH; not those of a URL."""
NOT_CARRIED_OUT = {"LABEL", "EXPOSE", "STOPSIGNAL"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction: its name, the rest of its line."""

    name: str
    rest: str


@dataclass(slots=True, kw_only=True)
class Image:
    """What a stage has become, so far."""

    base: str
    root: Path
    folder: str = "/"
    user: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def here(self, text: str) -> str:
        """A text with its absolute paths leading into the image."""
        return ABSOLUTE.sub(f"{self.root}/", text)

    def path(self, name: str) -> Path:
        """A path in the image; a relative one is below the working directory."""
        return self.root / os.path.join(self.folder, name).lstrip("/")  # noqa: PTH118 - joins as a shell does

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command in the image, in its environment and working directory."""
        return subprocess.run(
            words,
            cwd=self.path(""),
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


def instructions(text: str) -> Iterator[Instruction]:
    """Those of a Containerfile, continued lines joined, without comments."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        yield Instruction(name=name, rest=rest.strip())


def build(
    text: str,
    context: Path,
    folder: Path,
    environment: Mapping[str, str],
    after_run: Callable[[Image], None] = lambda image: None,
) -> Image:
    """The image of the last stage. ``environment``: what the base image has, beside its PATH.

    ``after_run`` is called when a command has been run. Raises ValueError for an instruction that
    this does not know, AssertionError with the output of a command that failed.
    """
    (folder / "bin").mkdir(parents=True)
    for name in ("python", "python3"):
        (folder / "bin" / name).symlink_to(sys.executable)
    base = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", **environment}
    stages: dict[str, Path] = {}
    image, named = None, ""
    for one in instructions(text):
        if one.name == "FROM":
            if image is not None:
                stages[named] = image.root.rename(folder / f"stage-{named}")
            reference, _, named = one.rest.partition(" AS ")
            image = Image(base=reference, root=folder / "root", environment=dict(base))
            image.root.mkdir()
        else:
            assert image is not None, one
            _carry_out(one, image, context, stages)
            if one.name == "RUN":
                after_run(image)
    assert image is not None
    return image


def _carry_out(one: Instruction, image: Image, context: Path, stages: Mapping[str, Path]) -> None:
    match one.name:
        case "RUN":
            done = image.run("/bin/sh", "-c", image.here(one.rest))
            assert done.returncode == 0, f"{one.rest}\n{done.stdout}{done.stderr}"
        case "COPY":
            _copy(one.rest.split(), image, context, stages)
        case "WORKDIR":
            image.folder = os.path.join(image.folder, one.rest)  # noqa: PTH118
            image.path("").mkdir(parents=True, exist_ok=True)
        case "ENV":
            for pair in one.rest.split():
                name, _, value = pair.partition("=")
                known = string.Template(image.here(value)).substitute(image.environment)
                image.environment[name] = known
        case "USER":
            image.user = one.rest
        case "ENTRYPOINT":
            image.entrypoint = json.loads(one.rest)
        case "CMD":
            image.command = json.loads(one.rest)
        case _ if one.name not in NOT_CARRIED_OUT:
            raise ValueError(f"not known here: {one.name} {one.rest}")


def _copy(words: list[str], image: Image, context: Path, stages: Mapping[str, Path]) -> None:
    source = context
    if words[0].startswith("--from="):
        source = stages[words.pop(0).removeprefix("--from=")]
    *names, target = words
    into = image.path(target)
    for name in names:
        origin = source / name.lstrip("/")
        if origin.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(origin, into, symlinks=True, dirs_exist_ok=True, ignore=ignored)
        else:
            place = into / origin.name if target.endswith("/") else into
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin, place)
