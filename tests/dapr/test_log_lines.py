"""docs/log-lines.md lists the log lines of Dapr Sentry and of sentry-trio, as both programs write them."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import trustme

from sentry_trio.client import Authority, Workload, obtain
from testkit.oidc.served import write_pair
from testkit.ports import free_port
from testkit.processes import Process

Record = tuple[str, str, str]
"""Message, level and scope."""

PAGE: Final = (Path(__file__).parents[2] / "docs" / "log-lines.md").read_text()
NAMES: Final = ("ca.crt", "issuer.crt", "issuer.key")
# Lines that no program writes here: there is no cluster, no certificate is renewed, and Dapr exits at the first reload
# with a generated key ID.
ELSEWHERE: Final = (
    *("Adding validator 'kubernetes'", "Using kubernetes", "Using JWT kid from configuration"),
    *("Renewing ", "Successfully renewed", "Error "),
)


@dataclass(frozen=True)
class Row:
    """A line of the page, with the text that varies in angle brackets."""

    line: str
    level: str
    scope: str
    dapr: str

    @property
    def writes_1_18_1(self) -> bool:
        return self.dapr.startswith("1.18.1")

    @property
    def is_compared(self) -> bool:
        return not self.line.startswith(ELSEWHERE)

    def fits(self, record: Record) -> bool:
        line, level, scope = record
        return bool(pattern(self.line).fullmatch(line)) and (level, scope) == (self.level, self.scope)


def pattern(line: str) -> re.Pattern[str]:
    return re.compile(".+".join(map(re.escape, re.split("<[^<>]*>", line))))


def rows() -> list[Row]:
    found = re.findall(r"^\| `(.+?)` \| (\w+) \| `(.+?)` \| (.+?) \|$", PAGE, re.MULTILINE)
    return [Row(*cells) for cells in found]


def not_written() -> list[str]:
    section = PAGE.partition("## Not written")[2]
    return re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)


@dataclass(frozen=True)
class Scenario:
    """Flags, configuration and files with which both programs start."""

    flags: tuple[str, ...]
    configuration: str = ""
    is_filled: bool = False


OIDC: Final = (
    "--jwt-enabled",
    "--oidc-enabled",
    "--oidc-server-listen-port=0",
    "--oidc-server-listen-address=127.0.0.1",
)
TLS: Final = ("--oidc-server-tls-cert-file={directory}/tls.crt", "--oidc-server-tls-key-file={directory}/tls.key")
HOSTS: Final = ("--oidc-allowed-hosts=a.example,b.example", "--oidc-path-prefix=/a")
JWKS: Final = {"tokenValidators": [{"name": "jwks", "options": {"source": json.dumps({"keys": []})}}]}
SCENARIOS: Final = {
    "a new CA with OIDC over TLS": Scenario((*OIDC, *TLS, *HOSTS)),
    "a CA with OIDC over HTTP": Scenario((*OIDC, "--oidc-server-tls-enabled=false"), is_filled=True),
    "a CA with the jwks validator": Scenario((), json.dumps({"spec": {"mtls": JWKS}}), is_filled=True),
}


@pytest.fixture(scope="module")
def logs(dapr_sentry: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[Record]]:
    """Message, level and scope of every line that each program writes in all scenarios."""
    programs = {"dapr": [str(dapr_sentry)], "trio": [sys.executable, "-m", "sentry_trio"]}
    filled = tmp_path_factory.mktemp("filled")
    run(programs["trio"], Scenario(()), filled)
    jobs = []
    with ThreadPoolExecutor() as pool:
        for name, command in programs.items():
            for scenario in SCENARIOS.values():
                directory = tmp_path_factory.mktemp(name)
                if scenario.is_filled:
                    for file in NAMES:
                        (directory / file).write_bytes((filled / file).read_bytes())
                jobs.append((name, pool.submit(run, command, scenario, directory)))
    found: dict[str, set[Record]] = {name: set() for name in programs}
    for name, job in jobs:
        found[name] |= job.result()
    return found


def run(command: Sequence[str], scenario: Scenario, directory: Path) -> set[Record]:
    """Starts a program, requests a certificate, edits a credential file, waits for the reload and ends the program."""
    write_pair(directory, trustme.CA())
    (directory / "config.yaml").write_text(scenario.configuration)
    port = free_port()
    addresses = ("--listen-address=127.0.0.1", f"--port={port}", "--healthz-port=0", "--metrics-port=0")
    files = (f"--issuer-credentials={directory}", f"--config={directory}/config.yaml")
    flags = [flag.format(directory=directory) for flag in scenario.flags]
    popen = subprocess.Popen(
        [*command, "--mode=standalone", *addresses, *files, "--log-as-json", "--log-level=debug", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    process = Process(popen)
    try:
        process.log_until("Running gRPC server on port ")
        if not scenario.configuration:
            anchors = (directory / "ca.crt").read_bytes()
            authority = Authority(
                host="127.0.0.1",
                port=port,
                trust_anchors=anchors,
                spiffe_id="spiffe://localhost/ns/default/dapr-sentry",
            )
            obtain(authority, Workload(app_id="myapp", namespace="default"))
        with (directory / "ca.crt").open("ab") as anchors_file:
            anchors_file.write(b"\n")
        process.log_until("Issuer credentials changed; reloading")
        process.log_until("Running gRPC server on port ")
        process.send(signal.SIGTERM)
        assert process.exit_code() == 0
    finally:
        process.close()
    return {(str(each["msg"]), str(each["level"]), str(each["scope"])) for each in process.records}


ROWS: Final = rows()
COMPARED: Final = [row for row in ROWS if row.is_compared]


def test_the_page_has_rows_of_both_kinds() -> None:
    assert {row.dapr for row in ROWS} >= {"1.18.1", "1.0 to 1.10", "none"}
    assert not_written()


@pytest.mark.parametrize("row", COMPARED, ids=lambda row: row.line)
def test_a_line_of_the_page_is_written_by_the_programs_it_names(logs: dict[str, set[Record]], row: Row) -> None:
    writers = {name for name, records in logs.items() if any(map(row.fits, records))}
    assert writers == ({"dapr", "trio"} if row.writes_1_18_1 else {"trio"})


def test_every_line_of_dapr_is_on_the_page(logs: dict[str, set[Record]]) -> None:
    rejected = [pattern(line) for line in not_written()]
    missing = {
        record
        for record in logs["dapr"]
        if not any(row.fits(record) for row in ROWS) and not any(each.fullmatch(record[0]) for each in rejected)
    }
    assert missing == set()


def test_a_line_that_is_listed_as_not_written_is_dapr_s_alone(logs: dict[str, set[Record]]) -> None:
    for line in not_written():
        writers = {name for name, records in logs.items() if any(pattern(line).fullmatch(each[0]) for each in records)}
        assert writers == (set() if line.startswith(ELSEWHERE) else {"dapr"}), line
