"""One cap over all worker processes and replicas: cap/replicas."""

from __future__ import annotations

from dataclasses import replace

from routerspec.checks import held_calls
from routerspec.checks.cap.at_rest import ALL, PROOF, judge_tallies, merged, tally
from routerspec.checks.check import Check, TargetFacts
from routerspec.checks.replicas import cluster
from routerspec.history.history import History
from routerspec.promises import Cap, Promises
from routerspec.verdict import Finding, Outcome

_ONE_PROCESS = "one process: there is nothing to share the cap with"


def _replicas(history: History, cap: Cap) -> Finding:
    if history.promises.workers < 2 and cap.scope == "cluster":
        return _of_replicas(history, cap)
    workers = _of_workers(history, cap)
    if cap.scope != "cluster" or workers.outcome is Outcome.VIOLATED:
        return workers
    replicas = _of_replicas(history, cap)
    both = replicas if replicas.outcome is not Outcome.HELD else workers
    return replace(both, numbers={**workers.numbers, **replicas.numbers})


def _of_workers(history: History, cap: Cap) -> Finding:
    tallies = tally(history, cap, "spread", held_calls.saturated)
    return judge_tallies({ALL: merged(tallies.values())} if tallies else {}, [ALL])


def _of_replicas(history: History, cap: Cap) -> Finding:
    seen = cluster.read(history, cap, "replicas")
    return cluster.judge(
        seen,
        f"never more than {seen.most} at once over {seen.replicas} replicas, cap {seen.limit}",
        cluster.unshared(seen),
    )


def _one_process(promises: Promises) -> str:
    of_replicas = promises.cap is not None and promises.cap.scope == "cluster"
    return "" if promises.workers > 1 or of_replicas else _ONE_PROCESS


def _one_of_it(facts: TargetFacts) -> str:
    return "" if facts.promises.workers > 1 else cluster.needs_replicas(facts)


REPLICAS = Check(
    id="cap/replicas",
    promise=Cap,
    exempt=_one_process,
    needs_target=_one_of_it,
    scenarios=("spread", "replicas"),
    judge=_replicas,
    compares_clocks=False,
    promised='All worker processes, and with `scope = "cluster"` all replicas, share one cap.',
    proved="Workers: ten times the cap is offered, each request on a connection of its own and a "
    "moment after the one before, so that every worker gets some. Replicas: five times the cap is "
    "offered to all of them in turn, each by its own URL, before the head and after the first "
    "piece of an answer; slots are handed over from one replica to another; and the last byte of "
    f"every request is sent at the same instant. {PROOF}",
    doubt="In the router's favour, as in cap/each-route. Inconclusive unless all slots were "
    "occupied, every replica answered a client, and of every replica one was kept out. With "
    '`coordination = "static"` what the number of replicas does not divide may stay unused.',
    bug="A semaphore in each process: the cap times the number of workers or replicas reaches the "
    "provider: BerriAI/litellm #27900 and every limiter that lives in one process. A semaphore in "
    "Redis whose count is read first and raised later.",
    fix="Keep the count where all of them see it, take a slot in one atomic step, or give each "
    "replica a fixed part. Or state the cap per process.",
)
