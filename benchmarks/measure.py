"""One pass of load, and the system's figures of a process. Linux only: it reads `/proc`."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from benchmarks.contenders import FLOOR
from benchmarks.findings import Kind, Pass
from benchmarks.processes import ROOT
from testkit.clients import grpc_go
from testkit.subject import SPIFFE_ID

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SETTLING: Final = 0.3  # seconds of load before counting begins


class CallsFailedError(Exception):
    """Calls failed, so the measurement is invalid."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources that a process has used, its threads together; times in seconds since its start."""

    user_seconds: float
    system_seconds: float
    rss_kib: int

    @property
    def cpu_seconds(self) -> float:
        """User and system."""
        return self.user_seconds + self.system_seconds


def usage(process: int | str) -> Usage:
    """Returns the usage of a process, or of `self`; times in steps of the kernel's clock tick, mostly 10 ms."""
    directory = Path("/proc", str(process))
    # The name, in parentheses, may hold anything; after it come state (3), ..., utime (14) and stime (15); see proc(5).
    fields = directory.joinpath("stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in directory.joinpath("status").read_text().splitlines())
    return Usage(int(fields[11]) / _TICKS, int(fields[12]) / _TICKS, int(status["VmRSS"].split()[0]))


class MachineSeconds(NamedTuple):
    """Work of this machine's processors since its start, added up; in seconds."""

    all: float
    busy: float


def machine_seconds() -> MachineSeconds:
    """Returns the work of the processors; time that the host of a virtual machine took from them is busy time."""
    # user, nice, system, idle, iowait, irq, softirq, steal; guests, which follow, are counted in user; see proc(5).
    first = Path("/proc/stat").read_text().partition("\n")[0]
    ticks = [int(field) for field in first.split()[1:9]]
    return MachineSeconds(sum(ticks) / _TICKS, (sum(ticks) - ticks[3] - ticks[4]) / _TICKS)


@dataclass(frozen=True, slots=True)
class Measure:
    """Settings of each pass.

    Attributes:
        client: the load client's binary.
        credentials: the directory of trust anchors and issuer, the same for all.
        seconds: how long calls are counted.
        workers: how many callers there are; each calls again as soon as it is answered.
    """

    client: Path
    credentials: Path
    seconds: float
    workers: int

    def server(self, pid: int, port: int, kind: Kind) -> Pass:
        """Puts a server under load.

        Calls under way when counting begins count, and so does what is left of them; those under way when it ends are
        finished and count with all their cost. Of thousands these are a few, and as many for each contender.

        Raises:
            CallsFailedError: a call failed.
        """
        anchors = self.credentials / "ca.crt"
        with grpc_go.load(self.client, port, anchors, SPIFFE_ID, **{kind: self.workers}) as load:
            load.wait_ready()
            time.sleep(_SETTLING)
            load.count_anew()
            before, client_before, machine_before = usage(pid), usage(load.pid), machine_seconds()
            time.sleep(self.seconds)
            between, client_after, machine_after = usage(pid), usage(load.pid), machine_seconds()
            report = load.stop()
            after = usage(pid)
        if report.failures:
            raise CallsFailedError(f"{report.failures} of {report.calls} calls failed: {'; '.join(report.errors)}")
        by_client = client_after.cpu_seconds - client_before.cpu_seconds
        by_others = machine_after.busy - machine_before.busy - by_client - (between.cpu_seconds - before.cpu_seconds)
        calls = report.kept if kind == "kept" else report.new
        return Pass(
            calls=calls.calls,
            seconds=report.seconds,
            cpu_seconds=after.cpu_seconds - before.cpu_seconds,
            system_seconds=after.system_seconds - before.system_seconds,
            p50_ms=calls.p50_ms,
            p99_ms=calls.p99_ms,
            rss_kib=after.rss_kib,
            client_seconds=by_client,
            others=max(0.0, by_others / (machine_after.all - machine_before.all)),
        )

    def floor(self, kind: Kind) -> Pass:
        """Has the floor measure itself, in a process of its own.

        Raises:
            CallsFailedError: it could not.
        """
        program = ("-m", f"benchmarks.contenders.{FLOOR}", str(self.credentials), kind, str(self.seconds))
        done = subprocess.run([sys.executable, *program], cwd=ROOT, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise CallsFailedError(f"the floor ended with exit code {done.returncode}")
        return msgspec.json.decode(done.stdout, type=Pass)
