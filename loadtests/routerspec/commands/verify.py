"""The commands ``verify``, ``smoke`` and ``judge``: words, what is wished for, what is told of it.

Refuses to know how a run is made (``verify``) and how it is judged (``judge``).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import shlex
import sys
from pathlib import Path

from rich.console import Console

from routerspec.commands import TARGET_HELP, compare, report_options, spec
from routerspec.errors import UsageError
from routerspec.init.begin import Began
from routerspec.judge import judge
from routerspec.judge import verdict_json as report_json
from routerspec.processes.child import tail
from routerspec.processes.ports import checked_url
from routerspec.records.run import RUNS, read_run
from routerspec.report import preflight as report_smoke
from routerspec.report import terminal
from routerspec.targets import Target, attached_target, load_target
from routerspec.verdict import Verdict, exit_code
from routerspec.verify import progress_display
from routerspec.verify.progress import Progress
from routerspec.verify.request import QUICK, VerifyRequest, select
from routerspec.verify.verify import verify

_FIXED_PORTS = (8001, 11434, 8002)


def verify_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec verify``."""
    _target_options(parser)
    parser.add_argument("--only", default="", help="checks or groups: cap,models/cached")
    parser.add_argument("--quick", action="store_true", help="the sharpest few, in seconds")
    parser.add_argument("--soak", default="10s", help="how long the mixed load lasts: 10s, 10m, 1h")
    compare.verify_options(parser)
    report_options.add_options(parser)
    parser.set_defaults(command=_verify)


def smoke_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec smoke``."""
    _target_options(parser)
    parser.set_defaults(command=_smoke)


def judge_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec judge``."""
    parser.add_argument("run", type=Path, help="a run's folder, under .routerspec/runs/")
    _output_options(parser)
    report_options.add_options(parser)
    parser.set_defaults(command=_judge)


def _target_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", default="", help=TARGET_HELP)
    parser.add_argument("--url", default="", help="a router that runs already")
    parser.add_argument(
        "--allow-remote", action="store_true", help="--url may be another machine: yours to load"
    )
    parser.add_argument("--cap", type=int, help="with --url: the cap that it promises")
    parser.add_argument("--models-ttl", type=float, help="with --url: the TTL of its model list, s")
    parser.add_argument("--key", default="", help="with --url: the client's key for it")
    parser.add_argument("--flaw", default="", help="a deliberate defect of the reference router")
    parser.add_argument("--seed", type=int, help="of the mixed load; printed, to play it again")
    parser.add_argument(
        "--ports",
        default="",
        metavar="OPENAI,OLLAMA,CONTROL",
        help="ports of the fakes; with --url 8001,11434,8002, otherwise any free ones",
    )
    parser.add_argument(
        "--fakes",
        default="",
        metavar="CONTROL_URL",
        help="with --url: fakes that run already behind that router, and stay up",
    )
    parser.add_argument("--runs", type=Path, default=RUNS, help=f"where runs go (default {RUNS})")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="the result alone, no progress")
    loudness.add_argument("--verbose", action="store_true", help="a line for every round")
    _output_options(parser)


def _output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--strict", action="store_true", help="a violated `should` is red as well")


def _verify(options: argparse.Namespace) -> int:
    if options.quick and options.only:
        raise UsageError("--quick and --only both choose the checks: say one of them.")
    report_options.refuse_unwritable(options)
    words = QUICK if options.quick else compare.words(options.only)
    return _run(options, select(words or ("",)), load_s=_seconds(options.soak))


def _smoke(options: argparse.Namespace) -> int:
    return _run(options, select(("",)), only_smoke=True)


def _run(
    options: argparse.Namespace,
    checks: tuple[str, ...],
    *,
    load_s: float = 10.0,
    only_smoke: bool = False,
) -> int:
    if options.url:
        options.url = checked_url(options.url, allow_remote=options.allow_remote)
    target = _target(options)
    if options.flaw:
        spec.refuse_unknown_flaw(options.flaw, target)
    baseline = None if only_smoke else compare.read_baseline(options)
    request = VerifyRequest(
        target=target,
        checks=checks,
        runs=options.runs,
        command="routerspec " + shlex.join(sys.argv[1:]),
        seed=random.randrange(1 << 31) if options.seed is None else options.seed,  # noqa: S311
        flaw=options.flaw,
        url=options.url,
        fakes=_fakes(options),
        ports=ports(options),
        load_s=load_s,
        allow_remote=options.allow_remote,
        only_smoke=only_smoke,
    )
    with _progress(options, load_s) as progress:
        progress.say(f"{target.title}, seed {request.seed}")
        verdict, folder = verify(request, progress)
        progress.say(f"judged; the run is in {folder}")
    if only_smoke:
        return _smoke_told(verdict, folder)
    status = _tell_all(verdict, folder, options)
    if baseline is None:
        return status

    def again(measured: tuple[str, ...]) -> Verdict:
        with _progress(options, load_s) as progress:
            progress.say(f"more latency than before; once more: {', '.join(measured)}")
            return verify(dataclasses.replace(request, checks=measured), progress)[0]

    return compare.hold_against(baseline, verdict, folder, options, again)


def _tell_all(verdict: Verdict, folder: Path, options: argparse.Namespace) -> int:
    """Everywhere where a run's verdict is told."""
    with report_options.no_commands(options, os.environ):
        status = _show(verdict, folder, options)
    report_options.tell_github(verdict, folder, options, os.environ)
    report_options.leave_page(verdict, folder, tell=not options.quiet)
    report_options.write(verdict, folder, options)
    return status


def _smoke_told(verdict: Verdict, folder: Path, *, and_then: bool = True) -> int:
    """What smoke saw; where it failed, what the router itself said of it."""
    status = report_smoke.render(read_run(folder), verdict, Console(), and_then=and_then)
    logs = sorted(folder.glob("starts/*/router.log"))
    if status and logs:
        print(f"What the router said itself: {tail(logs[-1])}")
    return status


def smoke_found(options: argparse.Namespace, began: Began) -> int:
    """Smoke a router whose target file was just written."""
    request = VerifyRequest(
        target=began.target,
        checks=select(("",)),
        runs=options.runs,
        command=f"routerspec smoke {began.path} --url {began.url}",
        seed=0,
        url=began.url,
        ports=ports(options),
        allow_remote=options.allow_remote,
        only_smoke=True,
    )
    verdict, folder = verify(request, Progress(progress_display.teller()))
    return _smoke_told(verdict, folder, and_then=False)


def _target(options: argparse.Namespace) -> Target:
    if not options.url:
        if options.cap is not None or options.models_ttl is not None:
            raise UsageError("--cap and --models-ttl go with --url; a target file states its own.")
        return load_target(options.target or "reference")
    if options.target:
        target = dataclasses.replace(load_target(options.target), start=None)
        return dataclasses.replace(target, client_key=options.key) if options.key else target
    return attached_target(
        options.url, cap=options.cap, models_ttl_s=options.models_ttl, key=options.key or None
    )


def _fakes(options: argparse.Namespace) -> str:
    if not options.fakes:
        return ""
    if not options.url or options.ports:
        raise UsageError("--fakes goes with --url, and without --ports: the fakes have theirs.")
    return checked_url(options.fakes)


def ports(options: argparse.Namespace) -> tuple[int, int, int]:
    """Ports of the fakes: OpenAI, Ollama, control; 0 for any free one. Raises UsageError."""
    if not options.ports:
        return _FIXED_PORTS if options.url else (0, 0, 0)
    try:
        openai, ollama, control = (int(port) for port in options.ports.split(","))
    except ValueError:
        raise UsageError("--ports wants three numbers, as in --ports 8001,11434,8002.") from None
    return openai, ollama, control


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600}
    try:
        number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise UsageError(f"--soak {text!r} is no duration: say 30s, 10m or 1h.")
    return seconds


def _progress(
    options: argparse.Namespace, load_s: float
) -> contextlib.AbstractContextManager[Progress]:
    if options.quiet:
        return contextlib.nullcontext(Progress())
    return progress_display.shown(Console(stderr=True), every_round=options.verbose, load_s=load_s)


def _judge(options: argparse.Namespace) -> int:
    report_options.refuse_unwritable(options)
    verdict = judge.judge(read_run(options.run))
    status = _show(verdict, options.run, options)
    report_options.write(verdict, options.run, options)
    return status


def _show(verdict: Verdict, folder: Path, options: argparse.Namespace) -> int:
    if options.format == "json":
        print(report_json.encode(verdict))
    else:
        terminal.render(verdict, Console(), str(folder))
    return exit_code(verdict, strict=options.strict)
