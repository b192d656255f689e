"""Command lines: flags that are parsed, rejected, or do not go together."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .comparing import Fields, Seen, compare, shown_by
from .inputs import credentials, good_bundle
from .servers import Program, Setting, both, fatal_text, pair


def case(*arguments: str) -> tuple[str, ...]:
    return arguments


# Each of these ends by itself.
ENDING = {
    "help": case("--help"),
    "short help": case("-h"),
    "help with one dash": case("-help"),
    "help with a bad flag behind": case("--help", "--nope"),
    "bad flag with help behind": case("--nope", "--help"),
    "unknown flag": case("--nope"),
    "unknown flag with a value": case("--nope=1"),
    "unknown flag with one dash": case("-nope"),
    "unknown shorthand": case("-x"),
    "flag without value": case("--port"),
    "three dashes": case("---port=1"),
    "no name": case("--=1"),
    "number of letters": case("--port", "abc"),
    "number that is too large": case("--port", "99999999999999999999"),
    "number with a point": case("--port=1.5"),
    "empty number": case("--port="),
    "number with spaces": case("--port", " 1"),
    "number with a stray separator": case("--port", "1__0"),
    "octal with a wrong digit": case("--port", "08"),
    "duration of days": case("--jwt-ttl", "1d"),
    "duration without unit": case("--jwt-ttl", "24"),
    "empty duration": case("--jwt-ttl="),
    "duration that is too long": case("--jwt-ttl", "9999999h"),
    "duration of words": case("--jwt-ttl", "day"),
    "boolean of letters": case("--jwt-enabled=maybe"),
    "empty boolean": case("--jwt-enabled="),
    "boolean in mixed case": case("--jwt-enabled=tRUE"),
    "list with a bare quote": case("--oidc-allowed-hosts", 'a"b'),
    "list with an open quote": case("--oidc-allowed-hosts", '"a'),
    "unknown mode": case("--mode", "swarm"),
    "empty mode": case("--mode="),
    "mode in upper case": case("--mode", "STANDALONE"),
    "OIDC without certificate": case("--oidc-enabled", "--jwt-enabled"),
    "OIDC without key": case("--oidc-enabled", "--jwt-enabled", "--oidc-server-tls-cert-file", "a"),
    "OIDC without certificate, JWTs off": case("--oidc-enabled"),
    "issuer without JWTs": case("--jwt-issuer", "https://a"),
    "empty issuer without JWTs": case("--jwt-issuer="),
    "mode before issuer": case("--mode", "swarm", "--jwt-issuer", "https://a"),
    "unknown log level": case("--log-level", "loud"),
    "empty log level": case("--log-level="),
    "log file in no directory": case("--log-file", "none/log"),
    "log file that is a directory": case("--log-file", "/"),
    "key without certificate": case("--oidc-server-tls-key-file", "a"),
    "certificate without key": case("--oidc-server-tls-cert-file", "a"),
    "no credentials directory": case("--issuer-credentials", "none", "--config", "config.yaml"),
    "no configuration file": case("--config", "none.yaml", "--issuer-credentials", "."),
    "configuration that is a directory": case("--config", ".", "--issuer-credentials", "."),
    "mistyped command": case("stauts"),
    "flag of a later release": case("--ca-ttl", "1h", "--issuer-credentials", "none", "--config", "config.yaml"),
    "later flag wins": case("--mode", "standalone", "--mode", "swarm"),
    "bad value that a later one replaces": case("--port", "abc", "--port", "1"),
    "flags after two dashes": case("--mode", "swarm", "--", "--nope"),
    "value with one dash": case("--mode", "-swarm"),
    "flag as value": case("--mode", "--port"),
}


SEEN: Seen = {
    "help": ("help", "short help", "help with one dash", "help with a bad flag behind"),
    "mistyped-command": ("mistyped command",),
    "later-flags": ("flag of a later release",),
    "invalid-values": (
        "unknown mode",
        "empty mode",
        "mode in upper case",
        "OIDC without certificate",
        "OIDC without key",
        "OIDC without certificate, JWTs off",
        "issuer without JWTs",
        "empty issuer without JWTs",
        "mode before issuer",
        "unknown log level",
        "empty log level",
        "key without certificate",
        "certificate without key",
        "later flag wins",
        "flags after two dashes",
        "value with one dash",
        "flag as value",
        "port that is not a number",
        "port out of range",
        "negative port",
        "trust domain in upper case",
        "trust domain with a port",
        "trust domain with an empty label",
        "no trust domain",
        "empty namespace",
        "namespace with a slash",
        "OIDC with an issuer that is no URL",
    ),
    "oidc-empty-prefix": ("empty path prefix",),
    "incomplete-files": ("other file names",),
}


@pytest.mark.parametrize("name", ENDING)
def test_command_lines_that_end(dapr_sentry: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "config.yaml").touch()
    dapr, ours = (_ended(program, ENDING[name], tmp_path) for program in both(dapr_sentry))
    compare(dapr, ours, differs=shown_by(SEEN, name), may_differ=("start-error-texts",))


def _ended(program: Program, arguments: tuple[str, ...], directory: Path) -> Fields:
    done = subprocess.run(
        [*program.command, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ,
    )
    # Dapr's flag library writes the error to stdout and stderr, before the usage; flags are indented in it.
    errors = [line for line in done.stderr.splitlines() if line and not line.startswith((" ", "Usage of "))]
    return {
        "status": f"exit code {done.returncode}",
        "text": fatal_text(done.stdout),
        "error": "\n".join(dict.fromkeys(errors)),
    }


@dataclass(frozen=True)
class Accepted:
    flags: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    ends_late: bool = False  # Dapr Sentry may accept connections before its health server fails and ends it


ACCEPTED = {
    "one dash": Accepted(("-log-level", "debug", "-enable-metrics=false")),
    "log level in upper case": Accepted(("--log-level", "DEBUG")),
    "booleans of digits": Accepted(("--enable-metrics=0", "--jwt-enabled=F")),
    "value behind a boolean is ignored": Accepted(("--enable-metrics", "false")),
    "positional arguments": Accepted(("one", "--enable-metrics=false", "two")),
    "two dashes alone": Accepted(("--enable-metrics=false", "--", "--nope")),
    "hexadecimal number": Accepted(("--healthz-port", "0x0")),
    "number with separators": Accepted(("--healthz-port", "0_0")),
    "number with a sign": Accepted(("--healthz-port", "+0")),
    "hosts in several flags": Accepted(("--oidc-allowed-hosts", "a,b", "--oidc-allowed-hosts", '"c,d"')),
    "port that is not a number, metrics off": Accepted(("--metrics-port", "abc", "--enable-metrics=false")),
    "port that is not a number": Accepted(("--metrics-port", "abc")),
    "port out of range": Accepted(("--healthz-port", "70000", "--enable-metrics=false"), ends_late=True),
    "negative port": Accepted(("--healthz-port", "-1", "--enable-metrics=false"), ends_late=True),
    "trust domain as SPIFFE ID": Accepted(("--trust-domain", "spiffe://cluster.local")),
    "trust domain in upper case": Accepted(("--trust-domain", "Cluster.Local")),
    "trust domain with a port": Accepted(("--trust-domain", "a:1")),
    "trust domain with an empty label": Accepted(("--trust-domain", "a..b")),
    "no trust domain": Accepted(("--trust-domain=",)),
    "namespace": Accepted((), environment={"NAMESPACE": "mesh"}),
    "empty namespace": Accepted((), environment={"NAMESPACE": ""}),
    "namespace with a slash": Accepted((), environment={"NAMESPACE": "a/b"}),
    "kubeconfig, which standalone mode ignores": Accepted(("--kubeconfig", "/none")),
    "OIDC on, JWTs off": Accepted(("--oidc-enabled", "--oidc-server-tls-enabled=false")),
    "issuer that is no URL": Accepted(("--jwt-enabled", "--jwt-issuer", "dapr.io")),
    "OIDC with an issuer that is no URL": Accepted(
        ("--jwt-enabled", "--oidc-enabled", "--oidc-server-tls-enabled=false", "--jwt-issuer", "a b:c")
    ),
    "empty path prefix": Accepted(
        ("--jwt-enabled", "--oidc-enabled", "--oidc-server-tls-enabled=false", "--oidc-path-prefix=")
    ),
    "absolute file names": Accepted(("--issuer-ca-filename", "/none/ca.crt")),
    "other file names": Accepted(("--issuer-key-filename", "other.key")),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_command_lines_that_may_serve(dapr_sentry: Path, tmp_path: Path, name: str) -> None:
    case = ACCEPTED[name]
    setting = Setting(files=credentials(good_bundle()), flags=case.flags, environment=case.environment)
    with pair(dapr_sentry, setting, tmp_path) as (dapr, ours):
        if case.ends_late:
            dapr.popen.wait(timeout=60)
        compare(dapr.outcome(), ours.outcome(), differs=shown_by(SEEN, name), may_differ=("start-error-texts",))
