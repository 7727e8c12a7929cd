"""A TCP relay between one replica of the router and a service: ``relay PORT``.

It takes connections on the listening socket that is its standard input and connects each to
127.0.0.1:PORT. While it is stopped (SIGSTOP) nothing passes, and nobody is told: a black hole.
Imports nothing of ours: three of them may start with every start of a router.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading

_BLOCK = 1 << 16


def serve(listener: socket.socket, port: int) -> None:
    """Relay every connection, until the process is ended."""
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_relay, args=(client, port), daemon=True).start()


def _relay(client: socket.socket, port: int) -> None:
    try:
        service = socket.create_connection(("127.0.0.1", port))
    except OSError:  # It is gone: so is the connection.
        client.close()
        return
    for sock in (client, service):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    back = threading.Thread(target=_pass_on, args=(service, client), daemon=True)
    back.start()
    _pass_on(client, service)
    back.join()
    client.close()
    service.close()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Every byte, and then the end; an end that was no proper one ends both directions."""
    try:
        while data := source.recv(_BLOCK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    serve(socket.socket(fileno=sys.stdin.fileno()), int(sys.argv[1]))
