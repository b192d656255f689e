"""Dapr's sidecars with small applications behind them, each a process or a thread on loopback."""

import json
import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from testkit.cluster.child import Child
from testkit.ports import free_port
from tests.dapr.service import serving_in_thread

HEALTH: Final = "/v1.0/healthz"
_TIMEOUT: Final = 10.0  # seconds for one call


@dataclass(frozen=True, slots=True)
class Address:
    """The ports of a sidecar, chosen before it starts so that others can be configured with them."""

    app_id: str
    namespace: str = "default"
    http: int = field(default_factory=free_port)
    internal: int = field(default_factory=free_port)

    @property
    def name(self) -> str:
        """The target of an invocation from any namespace."""
        return f"{self.app_id}.{self.namespace}"


def name_resolution(addresses: Sequence[Address]) -> dict[str, Any]:
    """A Configuration's `nameResolution` that finds these sidecars on loopback.

    Dapr's resolver for Kubernetes takes a template in place of a cluster's DNS names.
    """
    case = '{{{{if and (eq .ID "{0.app_id}") (eq .Namespace "{0.namespace}")}}}}127.0.0.1:{0.internal}{{{{end}}}}'
    template = "".join(case.format(each) for each in addresses)
    return {"component": "kubernetes", "version": "v1", "configuration": {"template": template}}


class _Application(BaseHTTPRequestHandler):
    """Answers a call with daprd's information on its caller."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status = HTTPStatus.OK if self.path == "/whoami" else HTTPStatus.NOT_FOUND  # no subscriptions, no settings
        body = json.dumps([self.headers["dapr-caller-app-id"], self.headers["dapr-caller-namespace"]]).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base has it
        """Logs nothing."""


@contextmanager
def _application() -> Iterator[int]:
    """Serves an application and yields its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Application) as server, serving_in_thread(server) as port:
        yield port


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A running daprd."""

    address: Address
    process: Child
    log: Path

    def call(self, target: Address) -> str:
        """Calls another sidecar's application once.

        Returns:
            An empty text if the answer named this sidecar as the caller, else the failure.
        """
        with closing(HTTPConnection("127.0.0.1", self.address.http, timeout=_TIMEOUT)) as connection:
            try:
                connection.request("GET", f"/v1.0/invoke/{target.name}/method/whoami")
                answer = connection.getresponse()
                found = f"{answer.status} {answer.read().decode()}"
            except OSError as error:
                found = repr(error)
        expected = f"{HTTPStatus.OK} {json.dumps([self.address.app_id, self.address.namespace])}"
        return "" if found == expected else f"{self.address.name} to {target.name}: {found}"

    def serving_certificate(self) -> x509.Certificate:
        """Returns the certificate that new connections from other sidecars get."""
        return serving_certificate(self.address.internal)

    def jwt_audiences(self) -> list[str]:
        """Returns the audiences of the tokens with a single one that came with its first identity."""
        log = self.log.read_text()
        assert "Successfully received JWT SVID with expiry" in log
        return sorted(re.findall(r"per-audience JWT SVID for audience (\S+) with expiry", log))


@contextmanager
def sidecar(
    daprd: Path,
    address: Address,
    directory: Path,
    flags: Sequence[str],
    environ: Mapping[str, str],
    *,
    until: Callable[[], bool] | None = None,
) -> Iterator[Sidecar]:
    """Starts daprd in front of an application of its own and yields it when both are ready; kills it at the end.

    Args:
        daprd: the program.
        address: its names and ports.
        directory: for its log.
        flags: of its command line, beside those of addresses and ports.
        environ: variables of its environment.
        until: true when it is to be yielded, for a sidecar that never gets ready.
    """
    log = directory / f"{address.name}.log"
    with ExitStack() as stack:
        port = stack.enter_context(_application())
        listening = {
            "app-id": address.app_id,
            "app-port": port,
            "dapr-http-port": address.http,
            "dapr-grpc-port": free_port(),
            "dapr-internal-grpc-port": address.internal,
            "dapr-internal-grpc-listen-address": "127.0.0.1",
            "dapr-listen-addresses": "127.0.0.1",
            "dapr-public-port": free_port(),
            "dapr-public-listen-address": "127.0.0.1",
            "enable-metrics": "false",
            "enable-mtls": "true",
            "log-level": "debug",
        }
        command = [str(daprd), *flags, *(f"--{name}={value}" for name, value in listening.items())]
        process = Child(command, log, {"NAMESPACE": address.namespace, **environ})
        stack.callback(process.kill)
        is_ready = until or partial(is_healthy, address.http, HEALTH)
        process.wait_until(lambda _: is_ready())
        yield Sidecar(address, process, log)


def failed_renewals(*sidecars: Sidecar) -> list[str]:
    """Returns the lines of logs that report a failed renewal.

    daprd retries after 10 s. If the certificate has expired by then, calls fail as with a wrong chain.
    """
    logs = {each.address.name: each.log.read_text().splitlines() for each in sidecars}
    return [f"{name}: {line}" for name, lines in logs.items() for line in lines if "Error renewing identity" in line]


def is_healthy(port: int, path: str = "/healthz") -> bool:
    """Asks a health endpoint once."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status < HTTPStatus.MULTIPLE_CHOICES
        except OSError:
            return False


def identity(certificate: x509.Certificate) -> str:
    """Returns a certificate's SPIFFE ID."""
    (found,) = _names(certificate).get_values_for_type(x509.UniformResourceIdentifier)
    return found


def dns_names(certificate: x509.Certificate) -> list[str]:
    """Returns the DNS names that a certificate is for."""
    return _names(certificate).get_values_for_type(x509.DNSName)


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def serving_certificate(port: int) -> x509.Certificate:
    """Returns the certificate of a server on loopback."""
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=_TIMEOUT)
    return x509.load_pem_x509_certificate(pem.encode())
