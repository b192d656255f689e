"""Runs a command with a small DNS server as the only one, in network and mount namespaces of its own.

Run by `unshare --map-root-user --mount --net` with a JSON document: `resolv_conf`, the `records` to serve, and the
`commands`, each of which is run with its output printed as one JSON list.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

_BIND = 0x1000
_A, _CNAME, _AAAA = 1, 5, 28
_NO_ERROR, _NAME_ERROR = 0, 3
_SET_FLAGS, _UP = 0x8914, 0x1


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH14x", b"lo", _UP))


def _mount_over(content: str, target: str) -> None:
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write(content)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(file.name.encode(), target.encode(), b"none", ctypes.c_ulong(_BIND), None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)
    Path(file.name).unlink()


def _wire(name: str) -> bytes:
    labels = [label.encode() for label in name.strip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _question(query: bytes) -> tuple[str, int, bytes]:
    """The name and the type that a query asks for, and the question's bytes."""
    labels, position = [], 12
    while size := query[position]:
        labels.append(query[position + 1 : position + 1 + size].decode())
        position += 1 + size
    (kind,) = struct.unpack_from("!H", query, position + 1)
    return ".".join(labels).lower(), kind, query[12 : position + 5]


def _answers(name: str, kind: int, records: dict[str, dict[str, str]]) -> list[bytes]:
    """The records from an alias down to the address, as a recursive server sends them."""
    record = records.get(name, {})
    if "CNAME" in record:
        target = _wire(record["CNAME"])
        alias = _wire(name) + struct.pack("!HHIH", _CNAME, 1, 5, len(target)) + target
        return [alias] if kind == _CNAME else [alias, *_answers(record["CNAME"], kind, records)]
    if kind == _A and "A" in record:
        return [_wire(name) + struct.pack("!HHIH", _A, 1, 5, 4) + socket.inet_aton(record["A"])]
    if kind == _AAAA and "AAAA" in record:
        return [_wire(name) + struct.pack("!HHIH", _AAAA, 1, 5, 16) + socket.inet_pton(socket.AF_INET6, record["AAAA"])]
    return []


def _serve(server: socket.socket, records: dict[str, dict[str, str]]) -> None:
    while True:
        query, client = server.recvfrom(512)
        name, kind, question = _question(query)
        if records.get(name, {}).get("rcode") == "silent":
            continue
        rcode = int(records[name].get("rcode", _NO_ERROR)) if name in records else _NAME_ERROR
        answers = [] if rcode else _answers(name, kind, records)
        head = query[:2] + struct.pack("!HHHHH", 0x8180 | rcode, 1, len(answers), 0, 0)
        server.sendto(head + question + b"".join(answers), client)


def _main() -> None:
    asked: dict[str, Any] = json.loads(sys.argv[1])
    _raise_loopback()
    _mount_over(asked["resolv_conf"], "/etc/resolv.conf")
    _mount_over(asked["hosts"], "/etc/hosts")
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    threading.Thread(target=_serve, args=(server, asked["records"]), daemon=True).start()
    outputs = [subprocess.run(each, capture_output=True, text=True, check=False) for each in asked["commands"]]
    print(json.dumps([[done.returncode, done.stdout, done.stderr] for done in outputs]))


if __name__ == "__main__":
    _main()
