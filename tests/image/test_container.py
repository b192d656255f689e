"""The image run as a container would be: its behaviour, its user, and the files that it does not change."""

import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

import sentry_trio
from sentry_trio import __version__
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.client import Authority, Obtained, Workload, obtain
from testkit.authorities import SKEW, wall_clock
from testkit.image.container import CREDENTIALS, Contained, Mount, run, serving, started
from testkit.image.dockerfile import Stage

SERVING = "Running gRPC server on port "


def _ask(port: int, credentials: Path) -> Obtained:
    authority = Authority(
        host="127.0.0.1",
        port=port,
        trust_anchors=(credentials / "ca.crt").read_bytes(),
        spiffe_id="spiffe://localhost/ns/default/dapr-sentry",
    )
    return obtain(authority, Workload(app_id="shop", namespace="market"))


def _state(root: Path) -> list[tuple[str, int, int]]:
    """Every path with its size and the time of its last change."""
    facts = ((path, path.lstat()) for path in sorted(root.rglob("*")))
    return [(str(path), fact.st_size, fact.st_mtime_ns) for path, fact in facts]


def _end(process: Contained) -> None:
    process.send(signal.SIGTERM)
    assert process.exit_code() == 0
    assert process.messages()[-1] == "Sentry shut down gracefully"


def test_it_serves_restarts_and_ends(runnable: Stage, credentials: Path) -> None:
    """From an empty directory of credentials; nothing else is written to."""
    before = _state(runnable.root)
    with serving(runnable, credentials=credentials) as process:
        port = process.log_until(SERVING)
        first = _ask(int(port), credentials)
        process.send(signal.SIGHUP)
        process.log_until("Received signal 'hangup'; restarting")
        assert process.log_until(SERVING) == port
        second = _ask(int(port), credentials)
        _end(process)
    assert first.anchors == second.anchors == (credentials / "ca.crt").read_bytes()
    assert second.spiffe_id == "spiffe://public/ns/market/shop"
    assert _state(runnable.root) == before


def test_it_is_process_1_of_a_user_without_privileges(runnable: Stage, credentials: Path) -> None:
    with serving(runnable, credentials=credentials) as process:
        process.log_until(SERVING)
        status = process.status()
        assert status["NSpid"][-1] == "1"
        assert status["Uid"] == status["Gid"] == ["65532"] * 4
        assert status["Groups"] == []
        assert status["NoNewPrivs"] == ["1"]
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[name][0], 16) == 0
        # Without a shell: it is the interpreter itself.
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        assert arguments[:4] == [b"/usr/bin/python3", b"-IS", b"/sentry", b"--mode=standalone"]
        _end(process)


def test_credentials_may_be_read_only(runnable: Stage, credentials: Path) -> None:
    """As Dapr's chart and this one mount them."""
    bundle = generate("localhost", "default", KeyType.P256, now=wall_clock(), allowed_clock_skew=SKEW)
    for name, content in (("ca.crt", bundle.anchors), ("issuer.crt", bundle.chain), ("issuer.key", bundle.key)):
        (credentials / name).write_bytes(content)
        os.chown(credentials / name, *runnable.ids)
    with serving(runnable, credentials=credentials, is_writable=False) as process:
        port = int(process.log_until(SERVING))
        assert _ask(port, credentials).anchors == bundle.anchors
        _end(process)


def test_a_signal_before_it_has_begun_is_not_lost(runnable: Stage, tmp_path: Path) -> None:
    """Process 1 has no default actions: until the program has handlers of its own, /sentry's ends it."""
    module = tmp_path / "packages" / "sentry_trio" / "cli.py"
    module.parent.mkdir(parents=True)
    module.write_text('import signal\nprint(\'{"msg": "importing"}\', flush=True)\nwhile True:\n    signal.pause()\n')
    with started(runnable, "/sentry", mounts=(Mount(tmp_path / "packages", "/usr/lib/sentry-trio"),)) as process:
        process.log_until("importing")
        process.send(signal.SIGTERM)
        assert process.exit_code() == 143


def test_the_working_directory_and_the_environment_change_nothing(runnable: Stage, tmp_path: Path) -> None:
    """Variables and mounted volumes do not change which code runs."""
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')")
    environ = {"PYTHONPATH": "/mine", "PYTHONHOME": "/mine", "PYTHONSTARTUP": "/mine/json.py", "PYTHONINSPECT": "1"}
    with started(runnable, "/sentry", "version", mounts=(Mount(tmp_path, "/mine"),), environ=environ) as process:
        assert process.popen.wait(timeout=60) == 0


def test_subcommands(runnable: Stage, credentials: Path, tmp_path: Path) -> None:
    assert run(runnable, "/sentry", "version").stdout == f"{__version__}\n"
    assert run(runnable, "/sentry", "--help").stdout.startswith("sentry-trio: a certificate authority")
    mistyped = run(runnable, "/sentry", "stauts")
    assert (mistyped.returncode, "did you mean status?" in mistyped.stderr) == (2, True)
    refused = run(runnable, "/sentry", "--nope")
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (
        2,
        "sentry-trio serve: error: unknown flag: --nope",
    )
    nothing = run(runnable, "/sentry", "audit", "verify", "/nowhere")
    assert nothing.returncode != 0
    assert "/nowhere" in nothing.stderr
    out = tmp_path / "out"
    out.mkdir()
    os.chown(out, *runnable.ids)
    with serving(runnable, credentials=credentials) as process:
        address = f"--address=127.0.0.1:{process.log_until(SERVING)}"
        mounts = (Mount(credentials, CREDENTIALS), Mount(out, "/out", is_writable=True))
        anchors = f"--trust-anchors={CREDENTIALS}/ca.crt"
        asked = run(runnable, "/sentry", "request", "--id=shop", address, anchors, "--out=/out", mounts=mounts)
        assert (asked.returncode, asked.stderr) == (0, "")
        assert "spiffe://public/ns/default/shop" in asked.stdout
        health, metrics = process.health_port(), process.metrics_port()
        where = (f"--replica=127.0.0.1:{health}:{metrics}", f"--issuer-credentials={CREDENTIALS}")
        drawn = run(runnable, "/sentry", "status", *where, mounts=mounts[:1])
        assert (drawn.returncode, drawn.stderr) == (0, "")
        assert "dapr-sentry" in drawn.stdout
        assert json.loads(run(runnable, "/sentry", "status", "--json", *where, mounts=mounts[:1]).stdout)
        _end(process)
    assert {path.name for path in out.iterdir()} == {"ca.crt", "tls.crt", "tls.key"}


IMPORT_ALL = """
import pkgutil, sys
sys.path.append("/usr/lib/sentry-trio")
import sentry_trio
for module in pkgutil.walk_packages(sentry_trio.__path__, "sentry_trio."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
        print(module.name)
from sentry_trio.kube import client_config
client_config.import_library()
import ctypes, pathlib
for path in sorted(pathlib.Path("/").rglob("*.so")):
    ctypes.CDLL(str(path))  # what a library needs is there, whether or not somebody imports it
import ssl
print(len(ssl.create_default_context().get_ca_certs()))
"""


def test_every_module_and_every_library_loads(runnable: Stage) -> None:
    """Also those that are imported late, in Kubernetes mode or by subcommands."""
    done = run(runnable, "/usr/bin/python3", "-IS", "-W", "error", "-c", IMPORT_ALL)
    assert (done.returncode, done.stderr) == (0, "")
    *modules, authorities = done.stdout.splitlines()
    assert set(modules) == set(_modules(Path(sentry_trio.__file__).parent))
    assert int(authorities) > 20  # those that HTTPS trusts


def _modules(package: Path) -> Iterable[str]:
    for path in package.rglob("*.py"):
        name = ".".join(("sentry_trio", *path.relative_to(package).with_suffix("").parts))
        if name.removesuffix(".__init__") not in {"sentry_trio", "sentry_trio.__main__"}:
            yield name.removesuffix(".__init__")


POD = {"NAMESPACE": "dapr-system", "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
ANY_PORTS = ("--log-as-json", "--port=0", "--healthz-port=0", "--metrics-port=0")


@pytest.mark.parametrize("mode", ["--mode=kubernetes", "--mode=auto"])
def test_without_a_cluster_the_start_fails_with_one_line(runnable: Stage, mode: str) -> None:
    """One line, as in any other installation."""
    with started(runnable, "/sentry", mode, *ANY_PORTS, environ=POD) as process:
        assert process.exit_code() == 1
        (fatal,) = (str(record["msg"]) for record in process.records if record["level"] == "fatal")
        assert "Kubernetes" in fatal


def test_it_waits_for_an_api_server_and_can_be_ended_meanwhile(runnable: Stage, tmp_path: Path) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("e30.e30.e30")
    (account / "namespace").write_text("dapr-system")
    bundle = generate("cluster.local", "kube-system", KeyType.P256, now=wall_clock(), allowed_clock_skew=SKEW)
    (account / "ca.crt").write_bytes(bundle.anchors)
    mounts = (Mount(account, "/var/run/secrets/kubernetes.io/serviceaccount"),)
    with started(runnable, "/sentry", *ANY_PORTS, mounts=mounts, environ=POD) as process:
        process.log_until("Using the Kubernetes API server https://127.0.0.1:1")
        _end(process)
