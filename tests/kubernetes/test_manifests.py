"""The Kustomize base: valid by Kubernetes' own schemas, and its parts fit together."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from fake_providers.__main__ import settings_of
from tests.docs.test_readmes import blocks
from tests.support.manifests import (
    BASE,
    FOLDER,
    ROOT,
    containers,
    documents,
    kustomization,
    named,
    pod,
    words,
)

SECRETS = {"routerspec-fakes/token": "a-token-of-a-test"}
ALL = [*documents(), *documents(FOLDER / "reader.yaml")]
OLDEST, NEWEST = (kubernetes_validate.utils.all_versions()[place] for place in (0, -1))
PLACE = re.compile(r"(?<![\w.])([a-z][a-z-]*):(\d+)\b")
"""A name and a port in an option or a variable."""
WORD = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")


def title(document: dict[str, Any]) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"


WITH_PODS = [pytest.param(one, id=title(one)) for one in ALL if pod(one)]


def check(document: dict[str, Any], version: str) -> None:
    """``strict``: a field that Kubernetes does not know, and would drop, is an error."""
    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("document", [pytest.param(one, id=title(one)) for one in ALL])
def test_every_document_is_valid_by_the_schemas_of_kubernetes(
    document: dict[str, Any], version: str
) -> None:
    check(document, version)


def test_a_wrong_document_is_not_valid() -> None:
    sound = named("Job", "locust-master")
    for place, wrong in (("backoffLimit", "0"), ("backOffLimit", 0)):
        broken = copy.deepcopy(sound)
        broken["spec"][place] = wrong
        with pytest.raises(kubernetes_validate.ValidationError):
            check(broken, NEWEST)


def test_the_base_is_what_the_issue_of_a_run_needs() -> None:
    """Fakes, a router, Locust's master and workers, and a place that keeps the run; no secret."""
    assert sorted(title(one) for one in documents()) == [
        "Deployment/fakes",
        "Deployment/router",
        "Job/locust-master",
        "Job/locust-workers",
        "PersistentVolumeClaim/routerspec-runs",
        "Service/fakes",
        "Service/locust-master",
        "Service/router",
    ]


def rendered(folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        ("kubectl", "kustomize", str(folder)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


@kubectl
def test_kustomize_renders_the_documents_with_their_label() -> None:
    (labels,) = kustomization()["labels"]
    expected = copy.deepcopy(documents())
    for one in expected:
        one["metadata"]["labels"] = labels["pairs"]
    assert sorted(rendered(BASE), key=title) == sorted(expected, key=title)


OVERLAY = blocks("yaml", (FOLDER / "README.md").read_text())[0]


@kubectl
def test_the_overlay_of_the_page_puts_another_router_in_its_place(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "routerspec" / "loadtests" / "kubernetes")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(OVERLAY)
    found = {title(one): one for one in rendered(folder)}
    for one in found.values():
        check(one, NEWEST)
    (router,) = containers(found["Deployment/router"])
    assert router["image"].startswith("registry.example/my-router:")
    assert "command" not in router
    assert "args" not in router
    (locust,) = pod(found["Job/locust-master"])["containers"]  # type: ignore[index]
    assert "--rs-cap=16" in locust["args"]
    assert "--rs-cap=4" not in locust["args"]
    images = {each["image"] for one in found.values() for each in containers(one)}
    assert images == {router["image"], "registry.example/routerspec:1"}


@pytest.mark.parametrize("document", WITH_PODS)
def test_every_pod_is_one_that_a_restricted_namespace_admits(document: dict[str, Any]) -> None:
    spec = pod(document)
    assert spec is not None
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in containers(document):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("document", WITH_PODS)
def test_no_pod_gets_the_variables_of_services(document: dict[str, Any]) -> None:
    """``LOCUST_MASTER_PORT`` and ``ROUTER_PORT`` would be options of Locust and of the router."""
    spec = pod(document)
    assert spec is not None
    assert spec["enableServiceLinks"] is False


@pytest.mark.parametrize("document", WITH_PODS)
def test_every_volume_that_is_mounted_is_there_and_none_else(document: dict[str, Any]) -> None:
    spec = pod(document)
    assert spec is not None
    mounted = {each["name"] for one in containers(document) for each in one.get("volumeMounts", [])}
    assert mounted == {one["name"] for one in spec.get("volumes", [])}
    claims = [
        one["persistentVolumeClaim"]
        for one in spec["volumes"]
        if len(one) > 1 and "persistentVolumeClaim" in one
    ]
    assert all(one["claimName"] == "routerspec-runs" for one in claims)


def ports_of(service: dict[str, Any]) -> set[int]:
    return {one["port"] for one in service["spec"]["ports"]}


SERVICES = {one["metadata"]["name"]: one for one in documents() if one["kind"] == "Service"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_leads_to_the_ports_of_one_kind_of_pod(name: str) -> None:
    service = SERVICES[name]
    (found,) = [
        one
        for one in documents()
        if pod(one)
        and service["spec"]["selector"].items()
        <= one["spec"]["template"]["metadata"]["labels"].items()
    ]
    ports = {
        each["name"]: each["containerPort"]
        for one in containers(found)
        for each in one.get("ports", [])
    }
    assert {one["targetPort"]: one["port"] for one in service["spec"]["ports"]} == ports


def test_every_place_that_is_named_is_a_port_of_a_service() -> None:
    places = {
        (name, int(port))
        for one in documents()
        for each in containers(one)
        for text in [*each.get("args", []), *(var.get("value", "") for var in each.get("env", []))]
        for name, port in PLACE.findall(text)
    }
    assert {name for name, _ in places} == {"fakes", "router"}
    for name, port in places:
        assert port in ports_of(SERVICES[name])


def test_the_fakes_understand_their_options() -> None:
    (fakes,) = containers(named("Deployment", "fakes"))
    line = words(fakes, SECRETS)
    settings = settings_of(line[line.index("fake_providers") + 1 :])
    assert settings.host == "0.0.0.0"
    assert settings.control_token == SECRETS["routerspec-fakes/token"]
    served = {settings.openai_port, settings.ollama_port, settings.anthropic_port}
    assert served | {settings.control_port} == ports_of(SERVICES["fakes"])


PARSES = """
import sys
from pathlib import Path
from locust.argument_parser import get_parser
from routerspec.scenarios.locust import options
parser = get_parser()
options.add_arguments(parser)
for line in sys.argv[1:]:
    print(vars(parser.parse_args(line.split())))
"""


def test_locust_understands_its_options_and_they_promise_what_the_router_is_told() -> None:
    lines = []
    for name in ("locust-master", "locust-workers"):
        spec = pod(named("Job", name))
        assert spec is not None
        (locust,) = spec["containers"]
        lines.append(words(locust, SECRETS)[1:])
    done = subprocess.run(
        (sys.executable, "-c", PARSES, *map(" ".join, lines)),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    master, worker = (eval(line) for line in done.stdout.splitlines())
    assert master["master"]
    assert worker["worker"]
    assert worker["master_host"] in SERVICES
    jobs = named("Job", "locust-workers")["spec"]
    assert master["expect_workers"] == jobs["parallelism"] == jobs["completions"]
    (router,) = containers(named("Deployment", "router"))
    told = {one["name"]: one["value"] for one in router["env"]}
    assert master["rs_cap"] == int(told["ROUTER_MAX_CONCURRENCY"])
    assert master["rs_models_ttl"] == float(told["ROUTER_MODELS_CACHE_TTL_S"])
    assert master["exit_code_on_error"] == 0, "the exit code is the verdict's alone"


def test_a_run_is_tried_once_and_kept() -> None:
    """A second try would hide a violation of the first."""
    for name in ("locust-master", "locust-workers"):
        job = named("Job", name)["spec"]
        assert job["backoffLimit"] == 0
        assert job["template"]["spec"]["restartPolicy"] == "Never"
        assert job["activeDeadlineSeconds"] > 0
    (runs,) = [
        one
        for one in named("Job", "locust-master")["spec"]["template"]["spec"]["volumes"]
        if one["name"] == "runs"
    ]
    assert runs["persistentVolumeClaim"]["claimName"] == "routerspec-runs"


def test_the_page_names_what_there_is() -> None:
    page = (FOLDER / "README.md").read_text()
    for name in re.findall(r"(?:job|deployment|pod)/([a-z][a-z-]*)", page):
        assert any(one["metadata"]["name"] == name for one in ALL), name
    assert "loadtests/kubernetes/Containerfile" in page
    assert (ROOT / "loadtests/kubernetes/Containerfile").is_file()
