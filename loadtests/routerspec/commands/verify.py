"""`routerspec verify`, `smoke` and `judge`: their options, output and exit codes."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from routerspec.checks import versions
from routerspec.commands import TARGET_HELP, compare, report_options, spec
from routerspec.commands.leftovers import name_leftovers
from routerspec.errors import HarnessError, RouterspecError, UsageError
from routerspec.judge import judge
from routerspec.judge import verdict_json as report_json
from routerspec.limits import LOAD_S
from routerspec.markup.plain import clean, clean_json
from routerspec.processes.child import tail
from routerspec.processes.ports import FREE_PORTS, USUAL_PORTS, FakePorts, checked_url
from routerspec.records import timings
from routerspec.records.load_processes import MOST
from routerspec.records.run import RUNS, read_run
from routerspec.report import preflight as report_smoke
from routerspec.report import terminal
from routerspec.report import timings as report_timings
from routerspec.scrub import SECRETS, public_command
from routerspec.targets import Target, attached_target, load_target
from routerspec.targets.sealing import key_from
from routerspec.verdict import Standing, Verdict, exit_code
from routerspec.verify import progress_display
from routerspec.verify.progress import Progress
from routerspec.verify.request import QUICK, VerifyRequest, select
from routerspec.verify.verify import verify

if TYPE_CHECKING:
    from routerspec.init.begin import Draft  # brings httpx


def verify_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec verify``."""
    _target_options(parser)
    parser.add_argument(
        "--only",
        default="",
        metavar="CHECKS",
        help="checks or groups, comma-separated: cap,models/cached",
    )
    parser.add_argument(
        "--spec",
        choices=versions.VERSIONS,
        default=versions.LATEST,
        help="version of the spec: no check that is newer (default: the latest, "
        f"{versions.LATEST})",
    )
    parser.add_argument("--quick", action="store_true", help="only the five most revealing checks")
    parser.add_argument(
        "--soak",
        default="",
        metavar="TIME",
        help="duration of the mixed load: 10s, 10m, 1h (default: until it has shown everything, "
        "10 s at most)",
    )
    parser.add_argument(
        "--load-processes",
        type=int,
        default=0,
        metavar="N",
        help="have N Locust workers make the mixed load, bursts and stampedes (default: none: one "
        "process makes everything)",
    )
    parser.add_argument(
        "--fail-fast",
        action="store_true",
        help="end at the first violated `must`; what is not played until then is inconclusive",
    )
    compare.verify_options(parser)
    report_options.add_options(parser)
    parser.set_defaults(command=_verify)


def smoke_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec smoke``."""
    _target_options(parser)
    parser.set_defaults(command=_smoke)


def judge_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec judge``."""
    parser.add_argument("run", type=Path, help="directory of a run, in .routerspec/runs/")
    _output_options(parser)
    report_options.add_options(parser)
    parser.set_defaults(command=_judge)


def _target_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", default="", help=TARGET_HELP)
    parser.add_argument(
        "--url",
        action="append",
        default=[],
        help="test a router that is already running there; given several times: its replicas",
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="allow a non-local --url (only machines you may load-test)",
    )
    parser.add_argument(
        "--cap", type=int, metavar="N", help="concurrency limit the router claims (with --url)"
    )
    parser.add_argument(
        "--models-ttl",
        type=float,
        metavar="S",
        help="TTL in seconds of its model-list cache (with --url)",
    )
    report_options.add_key_options(parser, "API key that clients send to it (with --url)")
    parser.add_argument(
        "--flaw", default="", metavar="NAME", help="seeded defect of the reference router to enable"
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="random seed of the mixed load; printed, pass it to replay",
    )
    parser.add_argument(
        "--ports",
        default="",
        metavar="OPENAI,OLLAMA,CONTROL[,ANTHROPIC]",
        help="ports of the fakes (default: free ports; with --url 8001,11434,8002,8003); further "
        "instances of a provider listen ten ports above the one before",
    )
    parser.add_argument(
        "--fakes",
        default="",
        metavar="CONTROL_URL[,...]",
        help="control URL of running fakes to reuse (with --url), and of further instances of "
        "their providers; their token is read from $ROUTERSPEC_FAKES_TOKEN",
    )
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        default=RUNS,
        help=f"directory for runs (default {RUNS})",
    )
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="print only the result")
    loudness.add_argument("--verbose", action="store_true", help="print a line for every round")
    _output_options(parser)


def _output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="output format (default table)"
    )
    parser.add_argument(
        "--strict", action="store_true", help="fail on violated `should` checks, too"
    )


def _verify(options: argparse.Namespace) -> int:
    if options.quick and options.only:
        raise UsageError("--quick and --only both select checks: pass one of them.")
    report_options.refuse_unwritable(options)
    names = QUICK if options.quick else compare.names(options.only)
    chosen = select(names or ("",), options.spec)
    load_s = _seconds(options.soak) if options.soak else None
    if not 0 <= options.load_processes <= MOST:
        raise UsageError(
            f"--load-processes {options.load_processes} is not between 0 and {MOST}: about one for "
            "each processor of this machine is of use."
        )
    return _run(
        options,
        chosen,
        spec_version=options.spec,
        load_s=load_s,
        load_processes=options.load_processes,
        fail_fast=options.fail_fast,
    )


def _smoke(options: argparse.Namespace) -> int:
    return _run(options, select(("",)), only_smoke=True)


def _run(
    options: argparse.Namespace,
    checks: tuple[str, ...],
    *,
    spec_version: str = versions.LATEST,
    load_s: float | None = None,
    only_smoke: bool = False,
    load_processes: int = 0,
    fail_fast: bool = False,
) -> int:
    options.url = _urls(options)
    url, *further = options.url or ("",)
    target = _target(options)
    if options.flaw:
        spec.refuse_unknown_flaw(options.flaw, target)
    baseline = None if only_smoke else compare.read_baseline(options)
    request = VerifyRequest(
        target=target,
        checks=checks,
        runs=options.runs,
        command=public_command("routerspec " + shlex.join(sys.argv[1:])),
        seed=random.randrange(1 << 31) if options.seed is None else options.seed,  # noqa: S311
        spec=spec_version,
        flaw=options.flaw,
        url=url,
        further_urls=tuple(further),
        fakes=_fakes(options),
        ports=ports(options),
        load_s=LOAD_S if load_s is None else load_s,
        whole_load=load_s is not None,
        allow_remote=options.allow_remote,
        only_smoke=only_smoke,
        load_processes=load_processes,
        fail_fast=fail_fast,
    )
    name_leftovers()
    with _progress(options) as progress, _told_as_json(request, options):
        progress.say(f"{target.title}, seed {request.seed}")
        verdict, folder = verify(request, progress)
        progress.say(f"judged; run saved in {folder}")
    if only_smoke:
        with report_options.no_commands(options, os.environ):
            return _render_smoke(verdict, folder)
    status = _report(verdict, folder, options)
    if baseline is None:
        return status

    def again(measured: tuple[str, ...]) -> Verdict:
        with _progress(options) as progress:
            progress.say(f"latency has grown; measuring again: {', '.join(measured)}")
            return verify(dataclasses.replace(request, checks=measured), progress)[0]

    return compare.hold_against(baseline, verdict, folder, options, again)


@contextlib.contextmanager
def _told_as_json(request: VerifyRequest, options: argparse.Namespace) -> Iterator[None]:
    """What ends the verification early is printed as a verdict too, where JSON was asked for."""
    try:
        yield
    except RouterspecError as error:
        if options.format == "json" and not isinstance(error, UsageError):
            standing = Standing.NOT_JUDGED
            if isinstance(error, HarnessError):
                standing = Standing.HARNESS_ERROR
            verdict = Verdict(
                target=request.target.title,
                version="",
                outcome=standing,
                seed=request.seed,
                promises=request.target.promises,
                checks=(),
                spec=request.spec,
                notes=(SECRETS.hide(str(error)),),
            )
            print(clean_json(report_json.encode(verdict)))
        raise


def _report(verdict: Verdict, folder: Path, options: argparse.Namespace) -> int:
    """Write the verdict everywhere it goes: files first, whatever becomes of what is printed."""
    page = report_options.leave_page(verdict, folder)
    try:
        report_options.write(verdict, folder, options)
    finally:
        with report_options.no_commands(options, os.environ):
            _show(verdict, folder, options)
        report_options.report_to_github(verdict, folder, options, os.environ)
        if not options.quiet:
            print(clean(page), file=sys.stderr)
    return exit_code(verdict, strict=options.strict)


def _render_smoke(verdict: Verdict, folder: Path, *, and_then: bool = True) -> int:
    """Print the result of smoke and, where it failed, the end of the router's own log."""
    status = report_smoke.render(read_run(folder), verdict, Console(), and_then=and_then)
    logs = sorted(folder.glob("starts/*/router.log"))
    if status and logs:
        print(f"The router's log ends with: {tail(logs[-1])}")
    return status


def smoke_found(options: argparse.Namespace, draft: Draft) -> int:
    """Run smoke on a router whose target file was just written."""
    request = VerifyRequest(
        target=draft.target,
        checks=select(("",)),
        runs=options.runs,
        command=f"routerspec smoke {draft.path} --url {draft.url}",
        seed=0,
        url=draft.url,
        ports=ports(options),
        allow_remote=options.allow_remote,
        only_smoke=True,
    )
    verdict, folder = verify(request, Progress(progress_display.line_printer()))
    return _render_smoke(verdict, folder, and_then=False)


def _target(options: argparse.Namespace) -> Target:
    key = key_from(options.key, options.key_file)
    if not options.url:
        if options.cap is not None or options.models_ttl is not None:
            raise UsageError(
                "--cap and --models-ttl need --url; a target file states its own promises."
            )
        return load_target(options.target or "reference")
    count = len(options.url)
    if options.target:
        target = dataclasses.replace(load_target(options.target), start=None, attached=count)
        return dataclasses.replace(target, client_key=key) if key else target
    first = attached_target(
        options.url[0], cap=options.cap, models_ttl_s=options.models_ttl, key=key or None
    )
    if count > 1 and (cap := first.promises.cap):
        together = dataclasses.replace(cap, scope="cluster")
        promises = dataclasses.replace(first.promises, cap=together)
        first = dataclasses.replace(first, promises=promises)
    return dataclasses.replace(first, attached=count)


def _urls(options: argparse.Namespace) -> list[str]:
    """Those of the router that runs already, and of its replicas; none: it is started."""
    urls = [checked_url(url, allow_remote=options.allow_remote) for url in options.url]
    for url in urls:
        if urls.count(url) > 1:
            raise UsageError(f"--url {url} is given twice: name each replica once.")
    return urls


def _fakes(options: argparse.Namespace) -> str:
    if not options.fakes:
        return ""
    if not options.url or options.ports:
        raise UsageError(
            "--fakes needs --url and excludes --ports: running fakes have their own ports."
        )
    urls = options.fakes.split(",")
    return ",".join(checked_url(url, allow_remote=options.allow_remote, tls=True) for url in urls)


def ports(options: argparse.Namespace) -> FakePorts:
    """The ports of the fakes, from the option ``--ports``. Raises UsageError."""
    usual = USUAL_PORTS if options.url else FREE_PORTS
    if not options.ports:
        return usual
    try:
        openai, ollama, control, *rest = (int(port) for port in options.ports.split(","))
        (anthropic,) = rest or (usual.anthropic,)
    except ValueError:
        raise UsageError(
            "--ports takes three numbers, as in --ports 8001,11434,8002, or four, the last one for "
            "Anthropic."
        ) from None
    return FakePorts(openai=openai, ollama=ollama, control=control, anthropic=anthropic)


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600}
    try:
        number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise UsageError(f"--soak {text!r} is not a duration such as 30s, 10m or 1h.")
    return seconds


def _progress(options: argparse.Namespace) -> contextlib.AbstractContextManager[Progress]:
    if options.quiet:
        return contextlib.nullcontext(Progress())
    return progress_display.shown(Console(stderr=True), every_round=options.verbose)


def _judge(options: argparse.Namespace) -> int:
    report_options.refuse_unwritable(options)
    verdict = judge.judge(read_run(options.run))
    try:
        report_options.write(verdict, options.run, options)
    finally:
        _show(verdict, options.run, options)
    return exit_code(verdict, strict=options.strict)


def _show(verdict: Verdict, folder: Path, options: argparse.Namespace) -> None:
    if options.format == "json":
        print(clean_json(report_json.encode(verdict)))
    else:
        terminal.render(verdict, Console(), str(folder))
    if options.timings:
        # Beside JSON, which must stay readable by programs.
        console = Console(stderr=options.format == "json")
        report_timings.render(timings.read(folder), console)
