"""The same OIDC requests to Dapr Sentry and sentry-trio, with Host and X-Forwarded-Host of all kinds."""

import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Final

import pytest
import trio

from testkit.oidc.served import made_key, published, serving, write_pair
from testkit.ports import free_ports

PATHS: Final = ("/.well-known/openid-configuration", "/jwks.json")
ADDRESS: Final = "127.0.0.1"
PATIENCE: Final = 20.0  # seconds

LISTS: Final = {
    "no list": "",
    "any": "*",
    "any and one": "good,*",
    "hosts": "good,Case.example,with.port:8443,[::1],fe80::1,*.wild.example",
}
# A Host header, and the lines of X-Forwarded-Host that come with it.
REQUESTS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("good", ()),
    ("good:1", ()),
    ("good:", ()),
    ("good:port", ()),
    ("GOOD", ()),
    ("Case.example", ()),
    ("case.example", ()),
    ("with.port", ()),
    ("with.port:8443", ()),
    ("with.port:1", ()),
    ("[::1]", ()),
    ("[::1]:1", ()),
    ("[fe80::1]:1", ()),
    ("[fe80::1]", ()),
    ("a.wild.example", ()),
    ("*.wild.example", ()),
    ("bad", ()),
    ("bad", ("good",)),
    ("bad", ("good:8443",)),
    ("bad", ("good:port",)),
    ("bad", ("GOOD",)),
    ("bad", ("with.port:8443",)),
    ("bad", ("with.port",)),
    ("bad", ("[::1]",)),
    ("bad", ("[fe80::1]:1",)),
    ("bad", (" good ",)),
    ("bad", ("*",)),
    ("bad", ("",)),
    ("good", ("",)),
    ("good", ("bad",)),
    ("good", ("Case.example",)),
    ("good", ("good, bad",)),
    ("good", ("bad, good",)),
    ("bad", ("good, good",)),
    ("bad", ("good", "bad")),
    ("good", ("bad", "good")),
    ("bad", ("", "good")),
    ("bad", ("good:1:2",)),
    ("bad", ("[good]:1",)),
    ("bad", ("]good:1",)),
)
# The list of hosts, Host, X-Forwarded-Host, and the issuer that Dapr derives, which is refused here with 400.
DIFFERENT: Final = (
    # Dapr compares the part before the colon but uses the whole value as issuer: a caller chooses the keys' address.
    ("good", "bad", ("good:80@evil.example",), "https://good:80@evil.example"),
    ("good", "bad", ("good:80/path",), "https://good:80/path"),
    ("good", "bad", ("good:?query",), "https://good:?query"),
    # An issuer without a host is a URL that cannot be fetched.
    ("", "", (), "https:"),
    ("*", "", (), "https:"),
)


@dataclass(frozen=True)
class Answer:
    status: int
    issuer: str | None


def _ask(port: int, path: str, host: str, forwarded: tuple[str, ...]) -> Answer:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = HTTPSConnection(ADDRESS, port, timeout=PATIENCE, context=context)
    try:
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host)
        for value in forwarded:
            connection.putheader("X-Forwarded-Host", value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    found = json.loads(body) if response.status == 200 else {}
    return Answer(response.status, found.get("issuer"))


@contextmanager
def _dapr(program: Path, directory: Path, awaited: str, allowed: str) -> Iterator[int]:
    """Runs Dapr Sentry with the files of a directory; yields its OIDC port when it has logged what is awaited."""
    (directory / "config.yaml").write_text(
        "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: daprsystem}\nspec: {}\n"
    )
    (directory / "credentials").mkdir(exist_ok=True)
    grpc, health, oidc = free_ports(3)
    command = [
        str(program),
        "--config=config.yaml",
        "--issuer-credentials=credentials",
        f"--listen-address={ADDRESS}",
        f"--port={grpc}",
        f"--healthz-port={health}",
        "--enable-metrics=false",
        "--jwt-enabled",
        "--oidc-enabled",
        f"--oidc-server-listen-address={ADDRESS}",
        f"--oidc-server-listen-port={oidc}",
        "--oidc-server-tls-cert-file=tls.crt",
        "--oidc-server-tls-key-file=tls.key",
        *([f"--oidc-allowed-hosts={allowed}"] if allowed else []),
    ]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            log = []
            for line in process.stdout:
                log.append(line)
                if awaited in line:
                    break
            else:
                raise AssertionError(f"Dapr Sentry ended: {log}")
            yield oidc
        finally:
            process.kill()


@pytest.fixture(scope="module")
def files(dapr_sentry: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with credentials that Dapr Sentry has made, so that the next run need not restart for them."""
    directory = tmp_path_factory.mktemp("dapr")
    write_pair(directory)
    with _dapr(dapr_sentry, directory, "generated and persisted successfully", ""):
        return directory


@asynccontextmanager
async def _both(program: Path, files: Path, allowed: str) -> AsyncIterator[tuple[int, int]]:
    flags = [f"--oidc-allowed-hosts={allowed}"] if allowed else []
    key = published(made_key("ES256"), "ES256", "key")
    with _dapr(program, files, "Starting OIDC HTTP server on 127", allowed) as theirs:
        async with serving(files, *flags) as ours:
            ours.server.publish(key)
            yield theirs, ours.address.port


async def _answers(ports: tuple[int, int], path: str, host: str, forwarded: tuple[str, ...]) -> tuple[Answer, Answer]:
    theirs, ours = ports
    return (
        await trio.to_thread.run_sync(_ask, theirs, path, host, forwarded),
        await trio.to_thread.run_sync(_ask, ours, path, host, forwarded),
    )


@pytest.mark.parametrize("allowed", LISTS.values(), ids=LISTS)
async def test_the_same_hosts_are_served_and_become_the_same_issuer(
    dapr_sentry: Path, files: Path, allowed: str
) -> None:
    differences = []
    async with _both(dapr_sentry, files, allowed) as ports:
        for host, forwarded in REQUESTS:
            for path in PATHS:
                theirs, ours = await _answers(ports, path, host, forwarded)
                if theirs != ours:
                    differences.append((path, host, forwarded, theirs, ours))
    assert differences == []


@pytest.mark.parametrize(("allowed", "host", "forwarded", "issuer"), DIFFERENT)
async def test_hosts_that_make_no_good_issuer_are_rejected(
    dapr_sentry: Path, files: Path, allowed: str, host: str, forwarded: tuple[str, ...], issuer: str
) -> None:
    async with _both(dapr_sentry, files, allowed) as ports:
        theirs, ours = await _answers(ports, PATHS[0], host, forwarded)
    assert theirs == Answer(200, issuer)
    assert ours == Answer(400, None)
