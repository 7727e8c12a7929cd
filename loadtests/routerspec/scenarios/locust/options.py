"""The options of plain Locust, all prefixed ``--rs-``, shown in the web UI too."""

from __future__ import annotations

from locust.argument_parser import LocustArgumentParser

from routerspec.plan import arrivals


def add_arguments(parser: LocustArgumentParser) -> None:
    """Add the options of a test without a plan."""
    group = parser.add_argument_group("routerspec")
    group.add_argument(
        "--rs-fakes", default="http://127.0.0.1:8002", help="control URL of the fakes"
    )
    group.add_argument(
        "--rs-cap",
        type=int,
        default=0,
        help="concurrency limit that the router promises; 0: none",
    )
    group.add_argument(
        "--rs-models-ttl",
        type=float,
        default=0.0,
        help="cache TTL of the model list that the router promises, in seconds; 0: none",
    )
    group.add_argument(
        "--rs-target", default="", help="target file, in place of --rs-cap and --rs-models-ttl"
    )
    group.add_argument(
        "--rs-key", default="", help="API key that clients send to the router, or env:NAME"
    )
    group.add_argument(
        "--rs-arrivals",
        choices=arrivals.KINDS,
        default=arrivals.CLOSED,
        help="closed: each user sends its next request when it has an answer; poisson, bursts: "
        "open loop, at a rate that slow answers do not lower (-u: requests in flight at most)",
    )
    group.add_argument(
        "--rs-rate",
        type=float,
        default=arrivals.USUAL_RATE,
        help="requests per second of the open loop",
    )
    group.add_argument(
        "--rs-burst-cv",
        type=float,
        default=arrivals.TRACED_CV,
        help="burstiness: coefficient of variation of the interarrival times (1: as poisson)",
    )
    group.add_argument("--rs-seed", type=int, default=0, help="random seed of the load")
    group.add_argument("--rs-runs", default=".routerspec/runs", help="directory for runs")
