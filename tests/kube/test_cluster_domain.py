"""The cluster's DNS domain: looked up as in Go, kept while lookups fail, and waited for only once."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.kube.cluster_domain import API_SERVER, ClusterDomain
from testkit.go_modules import GoModule, UnavailableError
from testkit.log_capture import Line, hear_logs

HERE = Path(__file__).parent
NAME = f"{API_SERVER}.cluster.example"
FALLBACK = "mesh.example"

Answer = str | Exception | None


class Resolver:
    """Resolver with a fixed answer; it never answers if that is None."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked = 0

    async def __call__(self, host: str) -> str:
        assert host == API_SERVER
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if self.answer is None:
            await trio.sleep_forever()
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer


@pytest.fixture
def lines() -> list[tuple[str, str]]:
    return []


@pytest.fixture(autouse=True)
def _heard(lines: list[tuple[str, str]]) -> "object":
    def keep(line: Line) -> None:
        lines.append((line["log_level"], line["event"]))

    with hear_logs(keep):
        yield


NOT_FOUND = socket.gaierror(-2, "Name or service not known")
FELL_BACK = f'Error getting Kubernetes cluster domain, falling back to "{FALLBACK}": '


@pytest.mark.parametrize(
    ("canonical", "domain"),
    [
        (NAME, "cluster.example"),
        (f"{NAME}.", "cluster.example"),
        (f"{API_SERVER}.local", "local"),
        # Dapr's rule for a name that does not begin with the Service's: all of it.
        ("elsewhere.example.", "elsewhere.example"),
    ],
)
async def test_the_domain_follows_the_name_of_the_service(
    canonical: str, domain: str, nursery: trio.Nursery, lines: list[tuple[str, str]]
) -> None:
    found = ClusterDomain(FALLBACK, Resolver(canonical))
    assert found.current == FALLBACK
    nursery.start_soon(found.keep)
    await found.wait_tried()
    assert found.current == domain
    assert lines == [("info", f"The cluster's DNS domain is {domain!r}")]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (NOT_FOUND, f"lookup {API_SERVER}: Name or service not known"),
        (None, f"lookup {API_SERVER}: no answer within 2 s"),
        (API_SERVER, f"could not parse cluster domain from CNAME: {API_SERVER}"),
        (f"{API_SERVER}.a b", f"could not parse cluster domain from CNAME: {API_SERVER}.a b"),
    ],
    ids=["none", "silence", "no domain", "no DNS name"],
)
async def test_the_trust_domain_is_used_until_there_is_an_answer(
    answer: Answer,
    why: str,
    nursery: trio.Nursery,
    lines: list[tuple[str, str]],
    autojump_clock: MockClock,
) -> None:
    resolver = Resolver(answer)
    found = ClusterDomain(FALLBACK, resolver)
    begin = trio.current_time()
    nursery.start_soon(found.keep)
    await found.wait_tried()
    assert trio.current_time() - begin == (2 if answer is None else 0)
    assert found.current == FALLBACK
    await trio.sleep(200)
    assert resolver.asked == 4
    assert lines == [("error", FELL_BACK + why)]
    resolver.answer = NAME
    await trio.sleep(60)
    assert found.current == "cluster.example"
    assert lines[1:] == [("info", "The cluster's DNS domain is 'cluster.example'")]


async def test_a_later_run_asks_again_and_waits_for_nothing(
    nursery: trio.Nursery, lines: list[tuple[str, str]], autojump_clock: MockClock
) -> None:
    resolver = Resolver(NAME)
    found = ClusterDomain(FALLBACK, resolver)
    nursery.start_soon(found.keep)
    await found.wait_tried()
    await wait_all_tasks_blocked()
    for answer in (None, NOT_FOUND, NAME, f"{API_SERVER}.other"):
        resolver.answer = answer
        begin = trio.current_time()
        found.refresh()
        await found.wait_tried()
        assert trio.current_time() == begin
        assert found.current == "cluster.example"
        await trio.sleep(5)
    assert resolver.asked == 5
    assert found.current == "other"
    assert [level for level, _ in lines] == ["info", "warning", "info"]
    assert lines[1][1].startswith('Error getting Kubernetes cluster domain, still using "cluster.example": ')


# --- the system's resolver, and Go's beside it

RESOLV_CONF = """
search dapr-system.svc.corp.example svc.corp.example corp.example
nameserver 127.0.0.1
options ndots:5
"""
FULL = f"{API_SERVER}.corp.example"
OURS = """
import sys, trio
from sentry_trio.kube.cluster_domain import _canonical_name
async def main():
    try:
        print(await _canonical_name(sys.argv[1], limiter=trio.CapacityLimiter(1)))
    except OSError as error:
        sys.exit(error.strerror)
trio.run(main)
"""
Records = Mapping[str, Mapping[str, str]]
LookUp = Callable[[Records, str], list[list[object]]]


@pytest.fixture(scope="session")
def look_up() -> LookUp:
    """Looks the API server up with Go's resolver and with ours, in a namespace with one small DNS server."""
    unshare = ["unshare", "--map-root-user", "--mount", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode != 0:
        pytest.skip("this machine allows no network namespaces, so the resolvers have no DNS server of their own")
    try:
        module = GoModule(HERE / "canonical_name", "Go's resolver").fetched()
    except UnavailableError as error:
        pytest.skip(str(error))
    binary = module.build(".")

    def in_namespace(records: Records, hosts: str) -> list[list[object]]:
        document = {
            "resolv_conf": RESOLV_CONF,
            "hosts": f"127.0.0.1 localhost\n{hosts}\n",
            "records": records,
            "commands": [[str(binary), API_SERVER], [sys.executable, "-c", OURS, API_SERVER]],
        }
        done = subprocess.run(
            [*unshare, sys.executable, str(HERE / "dns_namespace.py"), json.dumps(document)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=60,
        )
        outcomes: list[list[object]] = json.loads(done.stdout)
        return outcomes

    return in_namespace


@pytest.mark.parametrize(
    ("records", "hosts", "expected"),
    [
        ({FULL: {"A": "10.96.0.1"}}, "", FULL),
        ({FULL: {"AAAA": "fd00::1"}}, "", FULL),
        ({FULL: {"A": "10.96.0.1", "AAAA": "fd00::1"}}, "", FULL),
        ({FULL: {"CNAME": "api.example"}, "api.example": {"A": "10.96.0.1"}}, "", "api.example"),
        ({API_SERVER: {"A": "10.96.0.1"}}, "", API_SERVER),
        (
            {FULL: {"A": "10.96.0.1"}},
            f"10.0.0.1 {API_SERVER}.hosts.example {API_SERVER}",
            f"{API_SERVER}.hosts.example",
        ),
        ({}, "", None),
        ({FULL: {"rcode": "2"}}, "", None),
    ],
    ids=["IPv4", "IPv6", "both", "alias", "absolute", "hosts file", "no such name", "server failure"],
)
def test_the_canonical_name_is_that_of_gos_resolver(
    look_up: LookUp, records: Records, hosts: str, expected: str | None
) -> None:
    (go_code, go_name, _), (code, name, error) = look_up(records, hosts)
    if expected is None:
        assert (go_code, code) == (1, 1)
        assert error in {"Name or service not known\n", "Temporary failure in name resolution\n"}
    else:
        # Only Go writes the dot at the end, and Dapr strips it.
        assert (go_code, go_name) == (0, f"{expected}.\n")
        assert (code, name) == (0, f"{expected}\n")
