"""The network of ``hosts``, as a process: every packet of every host passes through here.

    python -P -m tests.support.switch '[{"address": "10.213.7.1", "pid": 17, "delay_s": 0.002}]'

It makes a TUN device in the namespace of each host, says ``ready`` and passes packets on: each is
as late as the delays of the links of both hosts together. ``cut ADDRESS`` and ``join ADDRESS`` on
standard input are answered with ``done``. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

_NETWORK = 0x40000000
_TUNSETIFF = 0x400454CA
_TUN, _NO_INFO = 0x0001, 0x1000
_MTU = 60_000
"""Few packets: each costs this process time."""
_DESTINATION = slice(16, 20)
"""Of an IPv4 packet."""


@dataclass
class Link:
    """The link of one host to the middle."""

    device: int
    delay_s: float
    is_cut: bool = False


def enter(namespace: int) -> None:
    """Go on in this network namespace (``os.setns`` came with Python 3.12)."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _NETWORK):
        raise OSError(ctypes.get_errno(), "setns")


def device_in(pid: int, address: str) -> int:
    """A TUN device with this address in the network namespace of this process."""
    ours = os.open("/proc/self/ns/net", os.O_RDONLY)
    theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    enter(theirs)
    try:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"wire", _TUN | _NO_INFO))
        for words in (
            f"address add {address}/24 dev wire",
            f"link set wire mtu {_MTU} txqueuelen 5000 up",
            "link set lo up",
        ):
            subprocess.run(["ip", *words.split()], check=True)
    finally:
        enter(ours)
        os.close(ours)
        os.close(theirs)
    return device


class Switch:
    """All links, by the address of their host."""

    def __init__(self, links: dict[bytes, Link]) -> None:
        self._links = links
        self._loop = asyncio.get_running_loop()
        for link in links.values():
            self._loop.add_reader(link.device, self._read, link)

    def _read(self, source: Link) -> None:
        for _ in range(64):
            try:
                packet = os.read(source.device, 65_536)
            except BlockingIOError:
                return
            there = self._links.get(packet[_DESTINATION])
            if there is None or there.is_cut or source.is_cut:
                continue
            late_s = source.delay_s + there.delay_s
            if late_s:
                self._loop.call_later(late_s, _deliver, there, packet)
            else:
                _deliver(there, packet)

    def obey(self, line: str) -> None:
        """``cut ADDRESS`` or ``join ADDRESS``."""
        what, address = line.split()
        self._links[socket.inet_aton(address)].is_cut = what == "cut"


def _deliver(link: Link, packet: bytes) -> None:
    if not link.is_cut:
        with contextlib.suppress(BlockingIOError):  # Its queue is full: a lost packet.
            os.write(link.device, packet)


async def _serve(plan: list[dict[str, Any]]) -> None:
    switch = Switch(
        {
            socket.inet_aton(its["address"]): Link(
                device_in(its["pid"], its["address"]), its["delay_s"]
            )
            for its in plan
        }
    )
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    print("ready", flush=True)
    while line := await reader.readline():
        switch.obey(line.decode())
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
