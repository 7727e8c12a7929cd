"""The exit of a router that was told to drain: drain/exit."""

from __future__ import annotations

import signal
from typing import Final

from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.checks.deadlines import Deadlines
from routerspec.checks.drain import drained
from routerspec.checks.drain.drained import Drained
from routerspec.history.history import History
from routerspec.limits import drain_slack_s
from routerspec.promises import Drain
from routerspec.verdict import Finding, Number, Witness

_KILLED: Final = -signal.SIGKILL
"""By the machine, or by a supervisor of the router's own: nobody knows."""


def _exit(history: History, drain: Drain) -> Finding:
    deadlines: Deadlines[Drained] = Deadlines()
    slack_ns = round(drain_slack_s(drain.within_s) * 1e9)
    longest_ns = 0
    killed = False
    for its in drained.drains(history):
        if its.exit is None:
            continue
        took_ns = its.exit.at_ns - its.signal.after_ns
        status = its.exit.status
        if status is not None and status not in _accepted(drain):
            if status != _KILLED:
                return results.violated(f"exit status {status}", _status_witness(its, drain))
            killed = True
        elif status is not None and took_ns <= its.within_ns + slack_ns:
            deadlines.met += 1
            longest_ns = max(longest_ns, took_ns)
        elif took_ns > its.within_ns + slack_ns:
            if its.is_quiet():
                deadlines.missed.append(its)
            else:
                deadlines.noisy += 1
    numbers: dict[str, Number] = {"drains": deadlines.met, "longest_s": round(longest_ns / 1e9, 2)}
    if deadlines.proof:
        return results.violated(
            f"no exit within {drain.within_s:g} s", _late_witness(deadlines.proof), numbers
        )
    if killed:
        return results.inconclusive("the router was killed while it drained", numbers)
    if unproved := deadlines.unproved("exits were late"):
        return results.inconclusive(unproved, numbers)
    if not deadlines.met:
        return results.never_exercised("no router was seen to exit", numbers)
    return results.held(f"exited within {longest_ns / 1e9:.1f} s, {deadlines.met} times", numbers)


def _accepted(drain: Drain) -> tuple[int, ...]:
    """Zero, and the signal itself, which some servers send themselves again once all is done."""
    number = signal.Signals[f"SIG{drain.signal}"]
    return 0, -number, 128 + number


def _status_witness(its: Drained, drain: Drain) -> Witness:
    assert its.exit is not None
    return Witness(
        sentence=f"A router that drains on SIG{drain.signal} is promised to exit with status 0; it "
        f"exited with {its.exit.status}.",
        facts=tuple(its.lines()),
    )


def _late_witness(late: list[Drained]) -> Witness:
    within = witness.seconds(late[0].within_ns)
    return Witness(
        sentence=f"The router is promised to exit within {within} of the signal; {len(late)} times "
        f"of {len(late)} it was still running after that.",
        facts=tuple(line for its in late for line in its.lines()),
    )


EXIT = Check(
    id="drain/exit",
    promise=Drain,
    scenarios=drained.SCENARIOS,
    exempt=drained.is_long,
    needs_target=drained.needs_process,
    judge=_exit,
    timed=True,
    promised="A router exits within `drain.within_s` of its draining signal, with status 0, also "
    "where a stream would last longer.",
    proved="In each of three drains the router's process was still running a tenth of that time "
    "(half a second at least) after it was over, in a quiet moment; or it exited with a status "
    "other than 0.",
    doubt="In the router's favour: an exit by the very signal that was sent, or with 128 plus its "
    "number, counts as 0: servers that have drained send it to themselves again. Only the process "
    "that was started is watched. One late exit, one beside which either side stalled, and a "
    "router that was killed are inconclusive.",
    bug="A shutdown that waits for streams without a bound, so that the supervisor kills the "
    "process with everything in it: PostHog/posthog PR #73863, BerriAI/litellm PR #28714.",
    fix="Bound the drain: at its deadline end what is left, and exit with 0.",
)
