"""A cluster of etcd on this machine: the crash-tolerant peer of a replicated store.

Debian's `etcd-server`, or whatever `BYZANTINE_ETCD` names. The four nodes speak plain TCP on
loopback; the client speaks gRPC to the leader, one channel, requests encoded by hand.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

#: A cluster has so long to elect a leader, in seconds.
START_S = 30.0


class EtcdError(Exception):
    """There is no etcd; the text says what to do."""


class Etcd:
    """`nodes` of etcd. `folder`: where they write; on tmpfs for what is compared with memory."""

    def __init__(self, nodes: int, folder: Path) -> None:
        program = os.environ.get("BYZANTINE_ETCD") or shutil.which("etcd")
        if program is None:
            raise EtcdError("etcd is missing: apt-get install etcd-server, or set BYZANTINE_ETCD")
        ports = _free_ports(2 * nodes)
        self._clients = [f"127.0.0.1:{port}" for port in ports[:nodes]]
        peers = [f"http://127.0.0.1:{port}" for port in ports[nodes:]]
        everybody = ",".join(f"n{k}={peer}" for k, peer in enumerate(peers))
        self._folder = tempfile.TemporaryDirectory(dir=folder, prefix="etcd-")
        self._processes = [
            subprocess.Popen(
                [program, "--name", f"n{k}", "--data-dir", f"{self._folder.name}/{k}",
                 "--listen-client-urls", f"http://{self._clients[k]}",
                 "--advertise-client-urls", f"http://{self._clients[k]}",
                 "--listen-peer-urls", peers[k], "--initial-advertise-peer-urls", peers[k],
                 "--initial-cluster", everybody, "--log-level", "error"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for k in range(nodes)
        ]  # fmt: skip
        self._channel = grpc.insecure_channel(self._leader())
        self._put = _method(self._channel, "/etcdserverpb.KV/Put")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def put(self, key: str, value: bytes, on_done: Callable[[], None]) -> None:
        """Asks for a put; `on_done` is called once it is answered."""

        def answered(future: Any) -> None:
            future.result()
            on_done()

        self._put.future(_put(key.encode(), value)).add_done_callback(answered)

    def put_and_wait(self, key: str, value: bytes) -> None:
        self._put(_put(key.encode(), value))

    def close(self) -> None:
        self._channel.close()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._folder.cleanup()

    def _leader(self) -> str:
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            for address in self._clients:
                with contextlib.suppress(grpc.RpcError), grpc.insecure_channel(address) as channel:
                    status = _method(channel, "/etcdserverpb.Maintenance/Status")(b"", timeout=1)
                    if _is_leader(status):
                        return address
            time.sleep(0.1)
        self.close_processes()
        raise EtcdError(f"etcd has no leader after {START_S:g} s")

    def close_processes(self) -> None:
        for process in self._processes:
            process.kill()


def _method(channel: grpc.Channel, name: str) -> Any:
    return channel.unary_unary(name, request_serializer=None, response_deserializer=None)


def _put(key: bytes, value: bytes) -> bytes:
    """etcdserverpb.PutRequest: key 1, value 2, both shorter than 128 bytes."""
    return b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value


def _is_leader(status: bytes) -> bool:
    """Whether a StatusResponse's `leader` (4) is its header's (1) `member_id` (2)."""
    fields = _fields(status)
    header = fields.get(1)
    return isinstance(header, bytes) and _fields(header).get(2) == fields.get(4, -1)


def _fields(data: bytes) -> dict[int, int | bytes]:
    """The fields of a protobuf message that has varints and lengths alone."""
    found: dict[int, int | bytes] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        amount, at = _varint(data, at)
        if tag & 7 == 2:
            found[tag >> 3] = data[at : at + amount]
            at += amount
        else:
            found[tag >> 3] = amount
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
