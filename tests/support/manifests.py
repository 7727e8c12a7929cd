"""The Kubernetes manifests of loadtests/kubernetes, read without a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "loadtests" / "kubernetes"
BASE = FOLDER / "base"
VARIABLE = re.compile(r"\$\((\w+)\)")

Manifest = dict[str, Any]


def kustomization() -> Manifest:
    """That of the base."""
    read: Manifest = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    return read


def documents(*files: Path) -> list[Manifest]:
    """The documents of these files; of all resources of the base, if none is given."""
    files = files or tuple(BASE / name for name in kustomization()["resources"])
    return [one for file in files for one in yaml.safe_load_all(file.read_text())]


def named(kind: str, name: str) -> Manifest:
    """One document of the base."""
    (found,) = [
        one for one in documents() if (one["kind"], one["metadata"]["name"]) == (kind, name)
    ]
    return found


def pod(document: Manifest) -> Manifest | None:
    """The specification of its pods; None of what has none."""
    spec: Manifest = document["spec"]
    return spec if document["kind"] == "Pod" else spec.get("template", {}).get("spec")


def containers(document: Manifest) -> Iterator[Manifest]:
    """Those of its pods, the ones that run first included."""
    spec = pod(document) or {}
    yield from spec.get("initContainers", [])
    yield from spec.get("containers", [])


def variables(container: Manifest, secrets: Mapping[str, str]) -> dict[str, str]:
    """Its environment. ``secrets``: value by ``name/key``."""
    found = {}
    for one in container.get("env", []):
        if "value" in one:
            found[one["name"]] = one["value"]
        else:
            source = one["valueFrom"]["secretKeyRef"]
            found[one["name"]] = secrets[f"{source['name']}/{source['key']}"]
    return found


def words(container: Manifest, secrets: Mapping[str, str]) -> list[str]:
    """Its command line, with the variables in it replaced as the kubelet does."""
    known = variables(container, secrets)
    line = [*container.get("command", []), *container.get("args", [])]
    return [VARIABLE.sub(lambda found: known[found[1]], word) for word in line]
