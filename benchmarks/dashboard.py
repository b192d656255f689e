"""Draws the Grafana dashboard of the chart from a real run: two replicas, traffic, rejections, restarts and a bad edit.

`make dashboard`, or `make dashboard ARGS="--seconds 60 --picture /tmp/dashboard.png"`. A real Prometheus scrapes the
replicas and answers the queries of the panels. No Grafana is needed: `benchmarks.dashboard_picture` draws about what it
would, from the same JSON. Needs Go, which builds Prometheus and the client.
"""

import argparse
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from benchmarks.dashboard_picture import Span, draw
from sentry_trio.client import Authority, RequestFailedError, Workload, obtain
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from testkit.clients import grpc_go
from testkit.credentials import ANCHORS, KubeletVolume, two_issuers
from testkit.go_modules import UnavailableError
from testkit.monitoring import binaries
from testkit.monitoring.expressions import DASHBOARD
from testkit.monitoring.server import prometheus
from testkit.subject import SPIFFE_ID, Subject, subject

_PICTURE: Final = Path(__file__).parents[1] / "docs" / "images" / "dashboard.png"
_PODS: Final = ("dapr-sentry-5d9c7-2xkqv", "dapr-sentry-5d9c7-9hw4m")
_OIDC: Final = (
    *("--jwt-enabled", "--oidc-enabled", "--oidc-server-tls-enabled=false"),
    *("--oidc-server-listen-address=127.0.0.1", "--oidc-server-listen-port=0"),
)
_WINDOW: Final = 6  # seconds, for rates; Prometheus scrapes each second
_direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Mesh:
    """Two replicas with one trust bundle, each in a directory that is mounted as the kubelet would.

    Args:
        directory: for their credentials.
        stack: ends them.
    """

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.bundles = two_issuers()
        self.credentials = [directory / pod for pod in _PODS]
        self.volumes = []
        self.replicas: list[Subject] = []
        for place in self.credentials:
            place.mkdir()
            self.volumes.append(KubeletVolume(place, self.bundles[0]))
            self.replicas.append(stack.enter_context(subject(place, *_OIDC)))

    def refused(self) -> None:
        """Callers whose requests are rejected."""
        for workload in (
            Workload(app_id="cart", namespace="shop", validator=SignCertificateRequest.KUBERNETES),
            Workload(app_id="cart", namespace="no such namespace"),
        ):
            with suppress(RequestFailedError, ValueError):
                obtain(self._authority(), workload)

    def strangers(self) -> None:
        """Connections that speak no TLS."""
        for _ in range(3):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.replicas[0].grpc_port)) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                connection.recv(1)

    def relying_party(self) -> None:
        """Reads discovery and key set."""
        for path in (".well-known/openid-configuration", "jwks.json"):
            with suppress(OSError):
                _direct.open(f"http://127.0.0.1:{self._oidc_port()}/{path}", timeout=5).close()

    def swap(self, replica: int) -> None:
        """The other issuer, under the same anchor."""
        self.volumes[replica](self.bundles[1])

    def spoil(self, replica: int) -> None:
        """A bad edit: an issuer certificate with the key of another."""
        self.volumes[replica](replace(self.bundles[1], key=self.bundles[0].key))

    def restart(self) -> None:
        """Both, by SIGHUP."""
        for each in self.replicas:
            each.process.send(signal.SIGHUP)

    def _authority(self) -> Authority:
        anchors = (self.credentials[1] / ANCHORS).read_bytes()
        return Authority(host="127.0.0.1", port=self.replicas[1].grpc_port, trust_anchors=anchors, spiffe_id=SPIFFE_ID)

    def _oidc_port(self) -> int:
        said = (
            message for message in self.replicas[0].process.messages() if "OIDC" in message and "127.0.0.1:" in message
        )
        return int("".join(filter(str.isdigit, next(said).rpartition("127.0.0.1:")[2].split("/")[0])))


@contextmanager
def _again_and_again(act: Callable[[], None], pause: float) -> Iterator[None]:
    """Does something beside the block."""
    over = threading.Event()

    def go() -> None:
        while not over.wait(pause):
            act()

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _play(mesh: Mesh, seconds: float) -> None:
    """Events, by shares of the time."""
    begin = time.monotonic()

    def wait(share: float) -> None:
        time.sleep(max(0.0, begin + share * seconds - time.monotonic()))

    with _again_and_again(mesh.relying_party, 0.5):
        wait(0.2)
        mesh.swap(0)
        wait(0.27)
        mesh.swap(1)
        wait(0.35)
        with _again_and_again(mesh.refused, 0.2):
            wait(0.5)
        mesh.restart()
        wait(0.6)
        mesh.spoil(1)
        wait(0.75)
        mesh.swap(1)
        wait(0.8)
        with _again_and_again(mesh.strangers, 0.3):
            wait(0.9)
        wait(1.0)


def main() -> int:
    """Runs and draws by the flags of the command line."""
    parser = argparse.ArgumentParser(prog="dashboard", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=180, help="how long it runs (default 180)")
    parser.add_argument("--picture", type=Path, default=_PICTURE, help="where it is drawn (default docs/images)")
    given = parser.parse_args()
    try:
        built = binaries.build()
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = grpc_go.build()
        mesh = Mesh(directory, stack)
        targets = {
            replica.metrics_port: {"namespace": "dapr-system", "pod": pod}
            for replica, pod in zip(mesh.replicas, _PODS, strict=True)
        }
        server = stack.enter_context(prometheus(built.prometheus, directory, targets, interval="1s"))
        for replica, place in zip(mesh.replicas, mesh.credentials, strict=True):
            load = grpc_go.load(client, replica.grpc_port, place / ANCHORS, SPIFFE_ID, kept=6, new=3, pace="150ms")
            stack.enter_context(load).wait_ready()
        begin = time.time()
        _play(mesh, given.seconds)
        draw(DASHBOARD, server, Span(begin + 2 * _WINDOW, time.time(), f"{_WINDOW}s"), given.picture)
    print(given.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
