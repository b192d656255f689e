"""Sets random attackers on a real process, and checks after each composition that it kept its bounds.

`make hostile-random MINUTES=60`, or with `ARGS="--seed 7 --only 12"` one composition again. A composition is made from
the seed and its number alone: attackers of the gRPC and health ports with random frames, header blocks, messages,
stream states, TLS and HTTP/1.1, at full speed, from a process of their own. Well-behaved callers and a probe of
`/readyz` measure the server meanwhile. Turns of its event loop are measured in CPU time, as other programs
lengthen them. A composition that violates a bound is run again, is reduced to the parts that it takes, and is written
to a file that `--replay` reads. Linux only; Go builds the client.
"""

import argparse
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.health_probe import Answers, probing
from benchmarks.server_watch import RSS_MIB, TURN_MAX_MS, TURN_P99_MS, ServerWatch, Usage, pin
from testkit.attackers.composition import Actor, Composition, compose
from testkit.authorities import made_request
from testkit.clients import grpc_go
from testkit.credentials import ANCHORS
from testkit.subject import SPIFFE_ID, Subject, subject

_METHOD: Final = "/dapr.proto.sentry.v1.CA/SignCertificate"
_FAILED_NEW: Final = 0.01  # part of the calls on new connections that may fail
_EXIT_TIMEOUT: Final = 30.0


class Outcome(msgspec.Struct):
    """Observations of one composition.

    Attributes:
        number: of the composition.
        violations: bounds that were not kept. A late answer can be the fault of other programs.
    """

    number: int
    violations: list[str]
    usage: Usage
    health: Answers
    calls: grpc_go.Report


class Arena:
    """A server, its callers, and the attackers of one composition at a time.

    Args:
        client: the load client's binary.
        target: the server.
        credentials: the directory that has its trust anchors.
        seconds: of attack for each composition.
    """

    def __init__(self, client: Path, target: Subject, credentials: Path, seconds: float) -> None:
        self._client = client
        self._target = target
        self._anchors = credentials / ANCHORS
        self._seconds = seconds
        self._watch = ServerWatch(target)
        self._message = credentials.parent / "request"
        self._composition = credentials.parent / "composition"
        self._message.write_bytes(made_request("hostile").SerializeToString())

    def try_out(self, composition: Composition) -> Outcome:
        """Attacks for some seconds."""
        flags: dict[str, int | str] = {"kept": 2, "new": 2, "pace": "20ms"}
        with self._watch.watching() as usage:
            with grpc_go.load(self._client, self._target.grpc_port, self._anchors, SPIFFE_ID, **flags) as load:
                load.wait_ready()
                with probing(self._target.health_port) as health, self._attackers(composition):
                    time.sleep(self._seconds)
                    calls = load.stop()
            usage.connections = self._watch.connections()
        return Outcome(composition.number, _violations(usage, calls, health), usage, health, calls)

    @contextmanager
    def _attackers(self, composition: Composition) -> Iterator[None]:
        self._composition.write_bytes(msgspec.json.encode(composition))
        flags = {
            "port": self._target.grpc_port,
            "health-port": self._target.health_port,
            "path": _METHOD,
            "message": self._message,
        }
        command = [sys.executable, "-m", "testkit.attackers.performance", str(self._composition)]
        command += [f"--{name}={value}" for name, value in flags.items()]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as popen:
            try:
                assert popen.stderr is not None  # noqa: S101  # for the type checker: it was asked for
                line = popen.stderr.readline()
                if line != "ready\n":
                    raise RuntimeError(f"the attackers failed: {line}{popen.stderr.read()}")
                yield
                popen.communicate(timeout=_EXIT_TIMEOUT)
            finally:
                popen.kill()


class Arenas:
    """Opens arenas: a server that violated a bound is replaced, so that it spoils no later composition.

    Args:
        stack: closes the last one.
        client: the load client's binary.
        directory: where each has a directory of its own.
        seconds: of attack for each composition.
    """

    def __init__(self, stack: ExitStack, client: Path, directory: Path, seconds: float) -> None:
        self._opened = stack.enter_context(ExitStack())
        self._client = client
        self._directory = directory
        self._seconds = seconds
        self._number = 0

    @staticmethod
    def _stop(target: Subject) -> None:
        """Ends a server, and reports the defects that it logged."""
        target.process.send(signal.SIGTERM)
        target.process.exit_code()
        for record in target.process.records:
            if record["level"] in {"error", "fatal"}:
                print(f"DEFECT {record}", file=sys.stderr, flush=True)

    def fresh(self) -> Arena:
        """Ends the server of the arena before, and starts one."""
        self._opened.close()
        self._number += 1
        credentials = self._directory / str(self._number) / "credentials"
        credentials.mkdir(mode=0o700, parents=True)
        target = self._opened.enter_context(subject(credentials, module="testkit.cpu_turns"))
        self._opened.callback(self._stop, target)
        pin(target.process.popen.pid)
        return Arena(self._client, target, credentials, self._seconds)


def _violations(usage: Usage, calls: grpc_go.Report, health: Answers) -> list[str]:
    found = []
    if usage.turn_p99_ms > TURN_P99_MS:
        found.append(f"turns: p99 up to {usage.turn_p99_ms:g} ms")
    if usage.turn_max_ms > TURN_MAX_MS:
        found.append(f"turns: longest up to {usage.turn_max_ms:g} ms")
    if usage.rss_peak_mib > RSS_MIB:
        found.append(f"RSS: {usage.rss_peak_mib:.0f} MiB")
    if calls.kept.failures:
        found.append(f"kept: {calls.kept.failures} of {calls.kept.calls} calls failed: {calls.kept.errors[:1]}")
    if calls.new.failures > _FAILED_NEW * calls.new.calls:
        found.append(f"new: {calls.new.failures} of {calls.new.calls} calls failed: {calls.new.errors[:1]}")
    if health.late or not health.count:
        found.append(f"/readyz: {health.late} of {health.count} failed or late, at most {health.max_ms:.0f} ms")
    return found


def _reduced(arenas: Arenas, failing: Composition) -> Composition:
    """Returns the composition without the attackers and pieces that the violation does not take."""
    index = 0
    least = failing
    while (candidates := list(smaller(least)))[index:]:
        candidate = candidates[index]
        if arenas.fresh().try_out(candidate).violations:
            least, index = candidate, 0
        else:
            index += 1
    return least


def smaller(composition: Composition) -> Iterator[Composition]:
    """Returns compositions that lack one attacker, or one piece of one."""
    actors = composition.actors
    for index in range(len(actors)) if len(actors) > 1 else ():
        yield _with_actors(composition, actors[:index] + actors[index + 1 :])
    for index, actor in enumerate(actors):
        for place in range(len(actor.pieces)) if len(actor.pieces) > 1 else ():
            pieces = actor.pieces[:place] + actor.pieces[place + 1 :]
            changed = msgspec.structs.replace(actor, pieces=pieces)
            yield _with_actors(composition, [*actors[:index], changed, *actors[index + 1 :]])


def _with_actors(composition: Composition, actors: list[Actor]) -> Composition:
    return msgspec.structs.replace(composition, actors=actors)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hostile-random", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60, help="for how long (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="of all compositions (default 1)")
    parser.add_argument("--first", type=int, default=0, help="number of the first composition (default 0)")
    parser.add_argument("--only", type=int, help="number of the only composition")
    parser.add_argument("--replay", type=Path, help="file of the only composition")
    parser.add_argument("--seconds", type=float, default=2, help="of each composition (default 2)")
    parser.add_argument("--found", type=Path, default=Path("build/hostile"), help="directory for what is found")
    return parser.parse_args()


def _compositions(given: argparse.Namespace) -> Iterator[Composition]:
    if given.replay is not None:
        yield msgspec.json.decode(given.replay.read_bytes(), type=Composition)
        return
    if given.only is not None:
        yield compose(given.seed, given.only)
        return
    end = time.monotonic() + 60 * given.minutes
    number = given.first
    while time.monotonic() < end:
        yield compose(given.seed, number)
        number += 1


def _report(outcome: Outcome) -> None:
    usage, calls = outcome.usage, outcome.calls
    print(
        f"{outcome.number}: /readyz {outcome.health.max_ms:.0f} ms, kept p99 {calls.kept.p99_ms:.0f} of "
        f"{calls.kept.calls}, new p99 {calls.new.p99_ms:.0f} of {calls.new.calls}, RSS {usage.rss_peak_mib:.0f}, "
        f"turns {usage.turn_p99_ms:g} {usage.turn_max_ms:g}, CPU {usage.cpu:.2f}"
        + "".join(f"; VIOLATION {text}" for text in outcome.violations),
        file=sys.stderr,
        flush=True,
    )


def main() -> int:
    """Attacks by the flags of the command line; returns 1 if a bound was violated."""
    given = _arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    tried = violated = 0
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        arenas = Arenas(stack, grpc_go.build(), Path(directory), given.seconds)
        arena = arenas.fresh()
        for composition in _compositions(given):
            outcome = arena.try_out(composition)
            _report(outcome)
            tried += 1
            if outcome.violations:
                arena = arenas.fresh()
                again = arena.try_out(composition)
                _report(again)
                if again.violations:
                    violated += 1
                    given.found.mkdir(parents=True, exist_ok=True)
                    found = given.found / f"{composition.seed}-{composition.number}.json"
                    found.write_bytes(msgspec.json.format(msgspec.json.encode(_reduced(arenas, composition))) + b"\n")
                    print(f"written to {found}", file=sys.stderr, flush=True)
                arena = arenas.fresh()
    print(f"{tried} compositions, {violated} violated a bound twice", file=sys.stderr)
    return 1 if violated else 0


if __name__ == "__main__":
    sys.exit(main())
