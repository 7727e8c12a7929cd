"""What a form of Locust's web UI can set, and what only the command line can."""

from __future__ import annotations

import json
import subprocess
import sys

FORM = {"rs_cap", "rs_models_ttl", "rs_arrivals", "rs_rate", "rs_burst_cv", "rs_seed"}

SCRIPT = """
import json
from types import SimpleNamespace
from locust.argument_parser import LocustArgumentParser
from routerspec.errors import RouterspecError
from routerspec.scenarios.locust import options
from routerspec.scenarios.locust.standalone import Standalone
from routerspec.targets import ATTACHED_MODELS

assert options.FRONTS == tuple(ATTACHED_MODELS)

parser = LocustArgumentParser()
parser.add_argument("--rs-plan", default="", include_in_web_ui=False)
options.add_arguments(parser)

given = parser.parse_args("--rs-runs here --rs-cap 4 --rs-key k --rs-target mine.toml".split())
environment = SimpleNamespace(parsed_options=given)
options.keep(environment)
before = vars(given).copy()
for name in before:
    setattr(given, name, "from a form")  # as Locust does with whatever is posted
options.restore(environment)

def refusal(host, *words):
    given = parser.parse_args(words)
    environment = SimpleNamespace(parsed_options=given, host=host, stop_timeout=0)
    try:
        Standalone(environment, None)
    except RouterspecError as error:
        return str(error)

print(json.dumps({
    "form": sorted(set(parser.args_included_in_web_ui) - {"help"}),
    "changed": sorted(name for name, value in before.items() if getattr(given, name) != value),
    "remote": refusal("http://192.0.2.1:8080"),
    "allowed": refusal("http://192.0.2.1:8080", "--rs-allow-remote"),
    "tls": refusal("https://127.0.0.1:8080"),
    "password": refusal("http://u:p@127.0.0.1:8080"),
    "none": refusal(None),
}))
"""


def test_a_form_sets_the_load_and_no_file_no_address_and_no_key() -> None:
    """In a process of its own: Locust patches the one that imports it."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    assert set(said["form"]) == set(said["changed"]) == FORM
    assert "Use --rs-allow-remote" in said["remote"]
    assert "No promise to verify" in said["allowed"]
    assert "over TLS" in said["tls"]
    assert "user name or a password" in said["password"]
    assert "is not a URL" in said["none"]
