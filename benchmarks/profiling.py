"""CPU profile of a call, by group of modules."""

import dataclasses
import os
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.contenders import Contender
from benchmarks.findings import KINDS, Kind, Profile
from benchmarks.measure import Measure
from benchmarks.processes import started
from benchmarks.sampler import Sampled, Stack

_PATIENCE: Final = 10.0  # seconds until samples are written

# By the first that matches file and function, `file:function`, of the innermost frame that matches any. What is named
# neither here nor in another package (the standard library's helpers, say) falls to its caller.
_GROUPS: Final = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("TLS handshake", r"/ssl\.py:SSLObject\.do_handshake|/ssl\.py:.*(wrap_bio|_create)|/grpc/tls\.py:.*handshake"),
        (
            "TLS records",
            r"/ssl\.py:SSLObject\.(read|write|unwrap)|/grpc/tls\.py:.*\.(write|half_close|arrived|_feed|feed)$",
        ),
        (
            "socket calls",
            r"/grpc/tls\.py:.*(send|send_at_once|_send_some|_receive_raw|\.close)$|/grpc/server\.py:.*\.accept$",
        ),
        ("signing core", r"/sentry_trio/ca/|/cryptography/"),
        ("metrics", r"/telemetry/(\w*metrics|registry)\.py|/prometheus_client/"),
        ("logging, observer", r"/telemetry/(logs|log_format|log_writer)\.py|/sentry_trio/grpc_metrics\.py"),
        ("h2, hpack, hyperframe", r"/(h2|hpack|hyperframe)/"),
        ("our grpc/", r"/sentry_trio/grpc/|/grpclib/"),
        ("service, protobuf", r"/sentry_trio/(service|proto|validators)|/google/protobuf/|/benchmarks/contenders/"),
        ("trio", r"/(trio|outcome|trio_util|sortedcontainers)/"),
    )
)
_OTHER: Final = "other"


def profile(measure: Measure, contenders: Sequence[Contender], seconds: float) -> list[Profile]:
    """Samples each contender under each kind of load, in processes that are not those that were measured."""
    longer = dataclasses.replace(measure, seconds=seconds)
    return [_profile(longer, contender, kind) for contender in contenders for kind in KINDS]


def _profile(measure: Measure, contender: Contender, kind: Kind) -> Profile:
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "samples.json")
        flag, module, *arguments = contender.arguments
        sampled = dataclasses.replace(
            contender, arguments=(flag, "benchmarks.sampler", str(output), module, *arguments)
        )
        with started(sampled, measure.credentials) as program:
            os.kill(program.pid, signal.SIGUSR2)
            found = measure.server(program.pid, program.port, kind)
            os.kill(program.pid, signal.SIGUSR2)
            deadline = time.monotonic() + _PATIENCE
            while not output.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
        seen = msgspec.json.decode(output.read_bytes(), type=list[Sampled])
    counted: Counter[str] = Counter()
    for each in seen:
        counted[group_of(each.stack)] += each.times
    samples = counted.total()
    return Profile(
        name=contender.name,
        kind=kind,
        samples=samples,
        cpu_ms=found.cpu_ms,
        groups={name: times / samples for name, times in counted.most_common()},
    )


def group_of(stack: Stack) -> str:
    """The group of modules that a sample falls to."""
    for file, function in stack:
        for name, pattern in _GROUPS:
            if pattern.search(f"{file}:{function}"):
                return name
    return _OTHER
