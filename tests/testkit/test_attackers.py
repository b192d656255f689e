"""A process full of attackers attacks as requested, and reports the results."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
from google.protobuf.wrappers_pb2 import StringValue
from trio.testing import wait_all_tasks_blocked

from sentry_trio.grpc import Limits
from testkit.attackers.band import Report
from testkit.attackers.process import attackers
from testkit.grpc.toys import Served, serving


async def _nothing() -> None: ...


async def _attack(
    server: Served,
    directory: Path,
    kind: str,
    *,
    until: Callable[[], Awaitable[None]] = _nothing,
    **flags: object,
) -> tuple[Report, int]:
    """Five attackers; what they report, and how many connections the server had once all had begun."""
    message = directory / "message"
    message.write_bytes(StringValue(value="hello").SerializeToString())
    named = {
        "port": server.port,
        "path": "/toys.Toys/Echo",
        "streaming-path": "/toys.Toys/Watch",
        "message": message,
        "connections": 5,
        **flags,
    }
    with attackers(kind, named) as band:
        await trio.to_thread.run_sync(band.wait_ready)
        present = server.witness.open
        await until()
        return await trio.to_thread.run_sync(band.stop), present


async def test_they_come_and_stay(tmp_path: Path) -> None:
    async with serving() as server:
        report, present = await _attack(server, tmp_path, "idle")
    assert present == report.begun == 5
    assert (report.cut, report.refused, report.goaways) == (0, 0, {})
    assert report.seconds > 0
    assert report.cpu_seconds > 0


async def test_they_come_back_when_they_are_cut(tmp_path: Path) -> None:
    async with serving(Limits(handshake_timeout=0.05)) as server:

        async def cut_twice() -> None:
            while len(server.witness.handshakes_failed) < 10:
                await wait_all_tasks_blocked()

        report, _ = await _attack(server, tmp_path, "partial handshake", until=cut_twice, pause=0)
    assert report.begun >= report.cut >= 5
    assert report.begun > 5


async def test_they_connect_to_the_given_target_and_report_refused_attackers(tmp_path: Path) -> None:
    async with serving(Limits(connections_per_peer=2)) as server:
        # The fifth is refused, or takes the place of one whose call does not run yet.
        report, present = await _attack(server, tmp_path, "zero window", sources="127.0.0.2,127.0.0.3")
    assert present == report.begun - report.cut == 4
    assert report.refused + report.cut >= 1
