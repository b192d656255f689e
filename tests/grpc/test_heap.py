"""Returning free memory to the system."""

import ctypes
from typing import ClassVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.grpc.heap import HeapTrimmer, glibc_trim, map_large_buffers
from sentry_trio.grpc.limits import TEND_INTERVAL
from testkit.grpc.raw import peering
from testkit.grpc.toys import serving


class Trims:
    count = 0

    def __call__(self) -> None:
        self.count += 1


def test_the_heap_is_trimmed_after_many_connections() -> None:
    trims = Trims()
    heap = HeapTrimmer(trims)
    for _ in range(3 * 128 - 1):
        heap.connection_closed()
    assert trims.count == 2
    heap.trim(is_used=False)
    assert trims.count == 3
    heap.trim(is_used=False)
    assert trims.count == 3, "no connection has closed since"
    heap.trim(is_used=True)
    assert trims.count == 4


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert glibc_trim() is None
    heap = HeapTrimmer(glibc_trim())
    heap.connection_closed()
    heap.trim(is_used=True)
    map_large_buffers()


class _Mallinfo(ctypes.Structure):
    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _mapped() -> int:
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    return int(mallinfo().hblkhd)


def test_large_buffers_have_mappings_of_their_own() -> None:
    map_large_buffers()
    for _ in range(3):
        before = _mapped()
        # Larger than a hole in the heap, smaller than the 32 MiB to which glibc raises its threshold.
        buffer = bytearray(24 * 1024 * 1024)
        assert _mapped() - before >= len(buffer)
        del buffer


def test_glibc_trims() -> None:
    trim = glibc_trim()
    assert trim is not None
    assert trim() in {0, 1}


async def test_a_server_trims_when_it_tends_its_connections(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    trims = Trims()
    monkeypatch.setattr("sentry_trio.grpc.server_state.glibc_trim", lambda: trims)
    async with serving() as server:
        await trio.sleep(3.5 * TEND_INTERVAL)
        assert trims.count == 0
        async with peering(server.port):
            await wait_all_tasks_blocked()
            await trio.sleep(3 * TEND_INTERVAL)
            assert trims.count == 3
        await wait_all_tasks_blocked()
        await trio.sleep(3 * TEND_INTERVAL)
        assert trims.count == 4
