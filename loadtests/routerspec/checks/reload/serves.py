"""The new configuration is served: reload/serves."""

from __future__ import annotations

from routerspec.checks import held_calls, results, witness
from routerspec.checks.answers import tokens
from routerspec.checks.check import Check
from routerspec.checks.deadlines import Deadlines
from routerspec.checks.reload import reloaded
from routerspec.checks.reload.reloaded import Reloaded
from routerspec.history.history import History
from routerspec.limits import drain_slack_s
from routerspec.promises import Cap, Reload
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Number, Witness


def _serves(history: History, reload: Reload) -> Finding:
    deadlines: Deadlines[tuple[Reloaded, str]] = Deadlines()
    unready = 0
    for its in reloaded.reloads(history):
        if its.exit is not None:
            summary = f"the router exited with status {its.exit.status}"
            return results.violated(summary, _exit_witness(its))
        if not _was_full(its, history.promises.cap):
            unready += 1
        elif not (fault := _fault(its, history, reload)):
            deadlines.met += 1
        elif not _offered_late(its, reload):
            unready += 1
        elif its.start.is_quiet(its.signal.before_ns, its.played.until_ns, reload.within_s * 1e9):
            deadlines.missed.append((its, fault))
        else:
            deadlines.noisy += 1
    numbers: dict[str, Number] = {"served": deadlines.met, "missed": len(deadlines.missed)}
    if proof := deadlines.proof:
        return results.violated("not served after a reload", _witness(proof, reload), numbers)
    if deadlines.met:
        return results.held(f"{deadlines.met} reloads, each served in time", numbers)
    if unproved := deadlines.unproved("reloads were not served"):
        return results.inconclusive(unproved, numbers)
    if unready:
        reason = "at no reload all slots were occupied, and a request sent later was kept out"
        return results.never_exercised(reason, numbers)
    return results.never_exercised("nothing was reloaded", numbers)


def _was_full(its: Reloaded, cap: Cap | None) -> bool:
    """The slots that a larger cap adds to were all occupied."""
    if its.signal.cap is None or cap is None or its.limit is None:
        return True
    before = [s for s in its.played.snapshots if s.answered_ns <= its.signal.before_ns]
    return any(held_calls.most_at(its.start, s, cap) >= its.limit for s in before)


def _offered_late(its: Reloaded, reload: Reload) -> bool:
    """A request was kept out that was sent once the new configuration had to be served.

    One that was sent before may wait in a process that is being replaced.
    """
    if its.signal.cap is None:
        return True
    served_ns = its.signal.after_ns + round(reload.within_s * 1e9)
    clients = [c for c in its.played.observations if c.sent_ns and c.sent_ns >= served_ns]
    late = {client.nonce for client in clients}
    return any(client.outcome == "refused" for client in clients) or any(
        late.intersection(snapshot.waiting).difference(
            nonce for held in snapshot.held for nonce in held.nonces
        )
        for snapshot in its.played.snapshots
    )


def _fault(its: Reloaded, history: History, reload: Reload) -> str:
    """What shows that the new configuration is not served; empty: it is."""
    lost = [client for client in _sent_after(its) if _is_lost(its, client)]
    if lost:
        return f"the request of nonce {lost[0].nonce} got no answer: {lost[0].error[:100]!r}"
    cap = history.promises.cap
    due_ns = its.signal.after_ns + round((reload.within_s + drain_slack_s(reload.within_s)) * 1e9)
    if its.signal.cap is not None and cap is not None:
        for snapshot in its.played.snapshots:
            held = held_calls.held_at(its.start, snapshot)
            groups = held_calls.grouped(cap, held).values()
            for calls in groups:
                if held_calls.count(cap, calls) >= its.signal.cap:
                    came_ns = sorted(call.read_ns for call in calls)[its.signal.cap - 1]
                    if came_ns <= due_ns:
                        return ""
        most = max((held_calls.most_at(its.start, s, cap) for s in its.played.snapshots), default=0)
        return f"with a cap of {its.signal.cap} at most {most} calls were let in by then"
    if any(tokens.whole(its.start, client) for client in _sent_after(its)):
        return ""
    return "no request that was sent after it was answered"


def _sent_after(its: Reloaded) -> list[Observation]:
    return [c for c in its.played.observations if c.started_ns > its.signal.after_ns]


def _is_lost(its: Reloaded, client: Observation) -> bool:
    """Nobody took its connection, or it was closed before any byte; no provider had its request."""
    no_answer = client.outcome == "failed" and client.status is None and client.hang_up_ns is None
    return no_answer and not its.start.calls_of.get(client.nonce, ())


def _exit_witness(its: Reloaded) -> Witness:
    assert its.exit is not None
    return Witness(
        sentence="The router is promised to read its configuration again without a restart; "
        f"it exited with status {its.exit.status}.",
        facts=(*its.lines(), f"it had exited {witness.at(its.played, its.exit.at_ns)}"),
    )


def _witness(proof: list[tuple[Reloaded, str]], reload: Reload) -> Witness:
    return Witness(
        sentence=f"The new configuration is promised to be served within {reload.within_s:g} s of "
        f"a reload; {len(proof)} times of {len(proof)} it was not.",
        facts=tuple(line for its, fault in proof for line in (*its.lines(), fault)),
    )


SERVES = Check(
    id="reload/serves",
    promise=Reload,
    scenarios=reloaded.SCENARIOS,
    exempt=reloaded.is_none,
    needs_target=reloaded.needs_process,
    judge=_serves,
    timed=True,
    promised="After a reload the new configuration is served within `reload.within_s`, and the "
    "router goes on to take requests meanwhile.",
    proved="Three times of three, in quiet moments: the cap in the router's files was raised by "
    "two with all slots occupied, and fewer calls than the new cap were let in by then, although "
    "requests that were sent after that time waited; or a request that was sent after the reload "
    "found nobody. Or the router's process exited.",
    doubt="In the router's favour: where the cap is not in the files nothing but an answer after "
    "the reload is asked for. A request that is refused with a status has found somebody. "
    "Inconclusive where not all slots were occupied before, and where fewer than three reloads "
    "showed it.",
    bug="The signal is ignored or ends the process, or the configuration is read again and the "
    "limiter keeps the old one: No public report in a router for LLMs.",
    fix="Build the new configuration beside the old one, check it, and replace the old one in one "
    "step.",
)
