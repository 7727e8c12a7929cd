"""Several processes behind one port: a parent that only lends permits, and workers that serve.

Decides who listens, who is started anew, and how all of them end. Refuses to know routes.

The parent has no event loop and no threads, so that it may fork at any time. All workers accept
from the one socket that it bound. A worker that dies gives back what it held (the parent sees the
end of its line) and is replaced; a parent that dies takes its workers with it.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from reference_router.lending import GRANT, Borrower, Lender

_ENDING = (signal.SIGTERM, signal.SIGINT)

Work = Callable[[socket.socket, socket.socket], None]
"""Serves clients of the first socket until stopped; the second leads to the parent."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Worker:
    pid: int
    line: socket.socket
    borrower: Borrower = field(default_factory=Borrower)
    served: bool = False
    """It has sent a message: one that dies before that would only die again."""


class Crew:
    """The workers of one listening socket and the permits that they share."""

    def __init__(self, listener: socket.socket, permits: int, work: Work) -> None:
        self._listener = listener
        self._work = work
        self._lender = Lender(permits)
        self._workers: dict[int, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        self._stopping = False

    def run(self, count: int) -> int:
        """Have ``count`` workers serve until SIGTERM or SIGINT; the status to exit with."""
        wake, waker = socket.socketpair()
        wake.setblocking(False)
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        for number in _ENDING:
            signal.signal(number, self._stop)
        self._selector.register(wake, selectors.EVENT_READ)
        for _ in range(count):
            self._start()
        status = 0
        while self._workers:
            for key, _ in self._selector.select():
                worker: _Worker | None = key.data
                if worker is None:
                    wake.recv(4096)
                elif not self._hear(worker) and not self._replaced(worker):
                    status = 1
            self._grant()
        return status

    def _stop(self, *_: object) -> None:
        self._stopping = True
        for worker in self._workers.values():
            os.kill(worker.pid, signal.SIGTERM)

    def _start(self) -> None:
        ours, its = socket.socketpair()
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # in the child they would be ours
        pid = os.fork()
        if not pid:
            ours.close()
            self._become_worker(its)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        its.close()
        ours.setblocking(False)
        worker = _Worker(pid=pid, line=ours)
        self._workers[pid] = worker
        self._selector.register(ours, selectors.EVENT_READ, worker)
        if self._stopping:  # stopped while it was being started
            os.kill(pid, signal.SIGTERM)

    def _become_worker(self, line: socket.socket) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _ENDING:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
            self._selector.close()
            for other in self._workers.values():
                other.line.close()
            self._work(self._listener, line)
            status = 0
        except BaseException:
            traceback.print_exc()  # nobody above will
            raise
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _hear(self, worker: _Worker) -> bool:
        """Read and handle its messages; False: it is gone."""
        try:
            words = worker.line.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            words = b""
        if words:
            worker.served = True
            self._lender.hear(worker.borrower, words)
        return bool(words)

    def _replaced(self, worker: _Worker) -> bool:
        """See it off and start another; False where that would not help."""
        self._selector.unregister(worker.line)
        worker.line.close()
        self._lender.gone(worker.borrower)
        del self._workers[worker.pid]
        os.waitpid(worker.pid, 0)
        if self._stopping:
            return True
        if not worker.served:
            self._stop()
            return False
        self._start()
        return True

    def _grant(self) -> None:
        """Tell the workers of their permits; what a full line does not take waits for its turn."""
        for worker in self._workers.values():
            borrower = worker.borrower
            if borrower.granted:
                try:
                    borrower.granted -= worker.line.send(GRANT * borrower.granted)
                except BlockingIOError:
                    pass
                except OSError:  # it is gone, and will be heard to be
                    borrower.granted = 0
            wants = selectors.EVENT_READ | (selectors.EVENT_WRITE if borrower.granted else 0)
            self._selector.modify(worker.line, wants, worker)


def listening(host: str, port: int) -> socket.socket:
    """The socket that all workers accept from. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener
