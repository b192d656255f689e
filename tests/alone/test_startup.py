"""Cost of a start: the modules that are imported, and memory when healthy. Real processes."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from http.client import HTTPConnection
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import sentry_trio
from testkit.authorities import LOOPBACK

PACKAGE = Path(sentry_trio.__file__).parent

# The command line as `python -m sentry_trio` runs it; in the end it prints the imported modules.
TELLING = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, sep="\\n", file=sys.stderr))
from sentry_trio.cli import main
sys.exit(main())
"""

# Of sentry_trio, what serving in standalone mode has no use for.
ELSEWHERE = (
    "__main__",  # run by its file's name only
    "cli.audit",
    "cli.completion",
    "cli.files",
    "cli.help",
    "cli.ca",
    "cli.ca.*",
    "cli.jwts",
    "cli.kubernetes_flags",
    "cli.request",
    "cli.status",
    "cli.status_flags",
    "cli.version",
    "audit.chain",
    "audit.log",
    "audit.sinks",
    "audit.verify",
    "audit.writer",
    "ca.jwt",
    "ca.jwk",
    "ca.jwt_key",
    "ca.jwt_rotation",
    "client",
    "environments.cluster_resources",
    "environments.jwks",
    "http_client",
    "key_cache",
    "environments.jwt",
    "environments.kubernetes",
    "kube",
    "kube.*",
    "oidc",
    "oidc.*",
    "proto.sentry_grpc",
    "settings.configuration_document",
    "settings.documents",
    "settings.sections",
    "settings.substitution",
    "settings.token_validators",
    "stores.configuration_object",
    "status",
    "status.*",
    "stores.secret*",
    "stores.secret_watch",
    "tokens",
    "tokens.*",
    "validators.jwks",
    "validators.jwks.*",
    "validators.kubernetes",
)

# What is imported from elsewhere, and who asks for it.
FOREIGN = {
    *("trio", "attr", "attrs", "idna", "outcome", "sniffio", "sortedcontainers"),
    *("trio_util", "async_generator"),
    *("cryptography", "_cffi_backend", "_openssl"),
    *("google", "grpclib", "hpack", "multidict"),
    "h11",
    "prometheus_client",
    *("msgspec", "typing_extensions"),
    *("watchfiles", "anyio"),
}

# Of the standard library, what is heavy or of another world. Nearly all the rest comes with those above.
UNWANTED = {"asyncio", "concurrent", "pdb", "pydoc", "sqlite3", "tkinter", "unittest", "xml", "xmlrpc"}

MOST_MEMORY = 60 * 1024  # KiB


class Started:
    """A process that is healthy."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen

    def resident_kib(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.popen.pid}/status").read_text())
        assert found is not None
        return int(found[1])


@contextmanager
def started(credentials: Path, *python: str, reported: Path) -> Iterator[Started]:
    """Starts it in standalone mode by `python ...`, waits for it to be healthy, ends it gracefully.

    What it writes to standard error goes to `reported`. Coverage is not measured: that takes more than what is
    measured here.
    """
    flags = ("--mode", "standalone", "--issuer-credentials", str(credentials), *LOOPBACK)
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COVERAGE_") and name != "PYTHONDONTWRITEBYTECODE"
    }
    environ["PYTHONPYCACHEPREFIX"] = str(reported.with_name("bytecode"))
    with (
        reported.open("w") as errors,
        subprocess.Popen(
            [sys.executable, *python, *flags], stdout=subprocess.PIPE, stderr=errors, text=True, env=environ
        ) as popen,
    ):
        assert popen.stdout is not None
        try:
            port = 0
            for line in popen.stdout:
                if found := re.search(r"Healthz server is listening on 127\.0\.0\.1:(\d+)", line):
                    port = int(found[1])
                if "Running gRPC server on port" in line:
                    break
            assert port, f"it has ended: {reported.read_text()}"
            while _health(port) != 200:
                pass
            yield Started(popen)
        finally:
            popen.terminate()
            popen.stdout.read()


def _health(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """Every module that was imported from the start to the end of a process that served in standalone mode."""
    reported = tmp_path_factory.mktemp("imports") / "stderr"
    with started(tmp_path_factory.mktemp("credentials"), "-c", TELLING, reported=reported):
        pass
    return frozenset(reported.read_text().split())


def _own_modules() -> set[str]:
    paths = {path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py")}
    return {".".join(path.parts).removesuffix(".__init__") for path in paths} - {"__init__"}


def _is_elsewhere(module: str) -> bool:
    return any(fnmatchcase(module, pattern) for pattern in ELSEWHERE)


def test_serving_imports_only_listed_modules_of_the_package(imported: frozenset[str]) -> None:
    served = {module for module in _own_modules() if f"sentry_trio.{module}" in imported}
    too_many = {module for module in served if _is_elsewhere(module)}
    assert too_many == set(), "import it where it is used, or take it out of ELSEWHERE"
    not_used = {module for module in _own_modules() - served if not _is_elsewhere(module)}
    assert not_used == set(), "not imported to serve in standalone mode: put it into ELSEWHERE"


def test_serving_imports_only_listed_packages(imported: frozenset[str]) -> None:
    packages = {module.partition(".")[0] for module in imported} - sys.stdlib_module_names - {"sentry_trio"}
    # What compiled modules keep for themselves, and what some virtual environments load.
    assert {package for package in packages if not re.match(r"__|_?cython|_distutils_hack", package)} == FOREIGN


def test_serving_imports_nothing_heavy_of_the_standard_library(imported: frozenset[str]) -> None:
    assert imported & UNWANTED == set()


def test_serving_imports_no_client_and_no_server_of_grpclib(imported: frozenset[str]) -> None:
    assert {module for module in imported if module.startswith("grpclib.")} == {
        "grpclib.const",
        "grpclib.exceptions",
        "grpclib.health",
        "grpclib.health.v1",
        "grpclib.health.v1.health_pb2",
        "grpclib.metadata",
    }


def test_a_version_takes_nothing() -> None:
    code = TELLING.replace("main()", "main(['version'])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {module.partition(".")[0] for module in done.stderr.split()}
    assert packages & {"trio", "cryptography", "rich", "yaml"} == set()
    ours = {module for module in done.stderr.split() if module.startswith("sentry_trio.")}
    flags = {"settings", "settings.flags", "settings.suggestions", "settings.values", "errors", "go_text"}
    assert ours == {f"sentry_trio.{name}" for name in {"cli", "cli.commands", "cli.version", *flags}}


def test_a_request_takes_no_server(tmp_path: Path) -> None:
    code = TELLING.replace("main()", "main(['request', '--help'])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {module.partition(".")[0] for module in done.stderr.split()}
    assert packages & {"trio", "h11", "kubernetes_asyncio", "prometheus_client", "watchfiles", "yaml"} == set()


def test_verifying_an_audit_log_takes_no_server() -> None:
    code = TELLING.replace("main()", "main(['audit', 'verify', '--help'])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {module.partition(".")[0] for module in done.stderr.split()}
    # All that is installed for this program; what measures coverage may be there, too.
    installed = {name for name, of in packages_distributions().items() if "coverage" not in of}
    assert packages & installed <= {"sentry_trio", "msgspec", "typing_extensions", "_distutils_hack"}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_start_takes_little_memory(tmp_path: Path) -> None:
    """With existing credentials and bytecode. `make bench` measures the time of a start."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    costs = []
    for _ in range(3):
        with started(credentials, "-m", "sentry_trio", reported=tmp_path / "stderr") as process:
            costs.append(process.resident_kib())
    assert min(costs[1:]) <= MOST_MEMORY
