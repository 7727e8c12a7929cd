"""The options of plain Locust, all prefixed ``--rs-``.

Those of the load are shown in the web UI too. Where files go, whom the load reaches and with which
key is for whoever starts Locust to say, and for nobody who can send a form to its web UI.
"""

from __future__ import annotations

from typing import Any, Final

from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from routerspec.plan import arrivals

FRONTS: Final = ("openai", "anthropic", "responses")
"""Those of ``targets.ATTACHED_MODELS``, which imports numpy: its threads would keep load processes
from being forked."""


def add_arguments(parser: LocustArgumentParser) -> None:
    """Add the options of a test without a plan."""
    group = parser.add_argument_group("routerspec")

    def shown(name: str, **how: Any) -> None:
        """In the form too, where a group's arguments are not by themselves."""
        group.add_argument(name, **how).include_in_web_ui = True

    group.add_argument(
        "--rs-fakes",
        default="http://127.0.0.1:8002",
        help="control URL of the fakes, those of further instances behind it with commas between; "
        "their token is read from $ROUTERSPEC_FAKES_TOKEN",
    )
    shown(
        "--rs-cap",
        type=int,
        default=0,
        help="concurrency limit that the router promises; 0: none",
    )
    shown(
        "--rs-models-ttl",
        type=float,
        default=0.0,
        help="cache TTL of the model list that the router promises, in seconds; 0: none",
    )
    group.add_argument(
        "--rs-target",
        default="",
        help="target file, in place of --rs-cap and --rs-models-ttl",
    )
    group.add_argument(
        "--rs-front",
        choices=FRONTS,
        default="openai",
        help="the dialect of clients without --rs-target: anthropic is /v1/messages, responses is "
        "/v1/responses",
    )
    group.add_argument(
        "--rs-key",
        default="",
        help="API key that clients send to the router, or env:NAME",
    )
    group.add_argument(
        "--rs-allow-remote",
        action="store_true",
        help="the host may be another machine, which you may load-test",
    )
    shown(
        "--rs-arrivals",
        choices=arrivals.KINDS,
        default=arrivals.CLOSED,
        help="closed: each user sends its next request when it has an answer; poisson, bursts: "
        "open loop, at a rate that slow answers do not lower (-u: requests in flight at most)",
    )
    shown(
        "--rs-rate",
        type=float,
        default=arrivals.USUAL_RATE,
        help="requests per second of the open loop",
    )
    shown(
        "--rs-burst-cv",
        type=float,
        default=arrivals.TRACED_CV,
        help="burstiness: coefficient of variation of the interarrival times (1: as poisson)",
    )
    shown("--rs-seed", type=int, default=0, help="random seed of the load")
    group.add_argument(
        "--rs-runs",
        default=".routerspec/runs",
        help="directory for runs",
    )


_FIXED: Final = (
    "rs_plan",
    "rs_fakes",
    "rs_target",
    "rs_front",
    "rs_key",
    "rs_allow_remote",
    "rs_runs",
)


def keep(environment: Environment) -> None:
    """Remember the options that only the command line sets."""
    options = environment.parsed_options
    environment.routerspec_fixed = {name: getattr(options, name) for name in _FIXED if options}


def hide_key(environment: Environment) -> None:
    """Locust sends all options of a master to its workers, as they are: none of them is a key."""
    environment.parsed_options.rs_key = ""


def restore(environment: Environment) -> None:
    """Set them as they were: Locust takes every option from a form, whether it is shown or not."""
    for name, value in environment.routerspec_fixed.items():
        setattr(environment.parsed_options, name, value)
