"""The Python API: public names, `running`, and the examples of README and docs/python-api.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import sentry_trio
from testkit.authorities import LOOPBACK
from testkit.doc_pages import blocks

PORTS = ("--port=0", "--healthz-port=0", "--metrics-port=0")


@pytest.fixture
def options(tmp_path: Path) -> sentry_trio.Options:
    (tmp_path / "ca").mkdir()
    return sentry_trio.local_options([f"--issuer-credentials={tmp_path / 'ca'}", *PORTS])


# --- public names


@pytest.mark.parametrize("name", sentry_trio.__all__)
def test_a_public_name_exists_and_is_listed(name: str) -> None:
    assert getattr(sentry_trio, name).__name__ == name
    assert name in dir(sentry_trio)


def test_type_checkers_see_the_public_names() -> None:
    tree = ast.parse(Path(sentry_trio.__file__).read_text())
    (typed,) = [node for node in tree.body if isinstance(node, ast.If)]
    imported = [alias.name for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(imported) == sorted(sentry_trio.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'sentry_trio' has no attribute 'nothing'"):
        getattr(sentry_trio, "nothing")  # noqa: B009 - mypy rejects the attribute


def test_every_public_exception_is_a_sentry_error() -> None:
    errors = [name for name in sentry_trio.__all__ if name.endswith("Error")]
    assert len(errors) > 20
    assert all(issubclass(getattr(sentry_trio, name), sentry_trio.SentryError) for name in errors)


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, sentry_trio; dir(sentry_trio); print(*(each for each in sys.modules if 'trio' in each))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["sentry_trio"]


# --- options


def test_local_options_listen_on_loopback() -> None:
    options = sentry_trio.local_options()
    assert {options.listen_address, options.healthz_listen_address, options.metrics_listen_address} == {"127.0.0.1"}
    assert (options.mode.value, options.namespace, options.warnings) == ("standalone", "default", ())


def test_a_given_address_stays() -> None:
    options = sentry_trio.local_options(
        ["--listen-address=", "--healthz-listen-address=::1", "--enable-metrics=false"], {"NAMESPACE": "mesh"}
    )
    assert (options.listen_address, options.healthz_listen_address) == ("", "::1")
    assert (options.metrics_listen_address, options.namespace, options.warnings) == ("127.0.0.1", "mesh", ())


def test_local_options_are_checked() -> None:
    with pytest.raises(sentry_trio.UsageError, match="unknown flag: --nothing"):
        sentry_trio.local_options(["--nothing"])
    with pytest.raises(sentry_trio.InvalidOptionsError, match="--drain-timeout"):
        sentry_trio.local_options(["--drain-timeout=-1s"])


# --- running


async def _refused(port: int) -> bool:
    try:
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
    except OSError:
        return True
    return False


async def test_it_serves_during_the_block(options: sentry_trio.Options) -> None:
    async with sentry_trio.running(options) as application:
        assert not await _refused(application.grpc_port)
        assert not await _refused(application.health_port)
        await application.authority.restart()
    assert await _refused(application.grpc_port)
    assert await _refused(application.health_port)


async def test_serve_starts_in_a_nursery(tmp_path: Path) -> None:
    options = sentry_trio.parse_options([f"--issuer-credentials={tmp_path}", *LOOPBACK], {})
    async with trio.open_nursery() as nursery:
        application = await nursery.start(sentry_trio.serve, options)
        assert application.grpc_port > 0
        nursery.cancel_scope.cancel()


async def test_a_start_error_is_raised_as_itself(options: sentry_trio.Options) -> None:
    (options.issuer_credentials / "ca.crt").write_bytes(b"")
    with pytest.raises(sentry_trio.IncompleteBundleError, match=r"issuer\.crt"):
        async with sentry_trio.running(options):
            pytest.fail("it serves")


async def test_a_taken_port_is_a_listen_error(options: sentry_trio.Options) -> None:
    async with sentry_trio.running(options) as application:
        taken = [f"--issuer-credentials={options.issuer_credentials}", *PORTS, f"--port={application.grpc_port}"]
        with pytest.raises(sentry_trio.ListenError) as raised:
            async with sentry_trio.running(sentry_trio.local_options(taken)):
                pytest.fail("it serves")
        assert not isinstance(raised.value.__context__, BaseExceptionGroup)


@pytest.mark.parametrize("error", [KeyError("x"), ExceptionGroup("own", [KeyError("x")])], ids=["one", "group"])
async def test_an_error_of_the_block_is_raised_as_itself(options: sentry_trio.Options, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        async with sentry_trio.running(options):
            raise error
    # A nursery copies groups.
    assert repr(raised.value) == repr(error)


async def test_a_server_error_cancels_the_block(options: sentry_trio.Options, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = trio.Event()

    async def serve(*_: object, task_status: trio.TaskStatus[None], **__: object) -> None:
        task_status.started()
        await fails.wait()
        raise sentry_trio.StoreError("gone")

    monkeypatch.setattr("sentry_trio.app.serve", serve)

    async def wait_in_block() -> None:
        async with sentry_trio.running(options):
            fails.set()
            await trio.sleep_forever()

    with pytest.raises(sentry_trio.StoreError, match="gone"):
        await wait_in_block()


async def test_errors_of_block_and_server_are_a_group(
    options: sentry_trio.Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(*_: object, task_status: trio.TaskStatus[None], **__: object) -> None:
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            raise sentry_trio.StoreError("gone")

    monkeypatch.setattr("sentry_trio.app.serve", serve)
    with pytest.RaisesGroup(KeyError, sentry_trio.StoreError, flatten_subgroups=True):
        async with sentry_trio.running(options):
            raise KeyError("x")


async def test_a_cancelled_block_ends_before_the_server(options: sentry_trio.Options) -> None:
    with trio.CancelScope() as scope:
        async with sentry_trio.running(options) as application:
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    served = not await _refused(application.grpc_port)
    assert scope.cancelled_caught
    assert served
    assert await _refused(application.grpc_port)


async def test_a_start_can_be_cancelled(options: sentry_trio.Options) -> None:
    with trio.move_on_after(0) as scope:
        async with sentry_trio.running(options):
            pytest.fail("it serves")
    assert scope.cancelled_caught


async def test_health_answers_after_stop(options: sentry_trio.Options) -> None:
    async with sentry_trio.running(options) as application:
        application.authority.stop()
        with pytest.raises(sentry_trio.AuthorityStoppedError):
            await application.authority.restart()
        assert not await _refused(application.health_port)


# --- examples


@pytest.mark.parametrize("page", ["README.md", "docs/python-api.md"])
def test_an_example_runs(tmp_path: Path, page: str) -> None:
    """With free ports instead of the defaults, which another process may use."""
    (tmp_path / ".sentry").mkdir()
    examples = [block.text for block in blocks(page) if block.language == "python" and "trio.run(" in block.text]
    assert examples
    flag = '"--issuer-credentials=.sentry"'
    for example in examples:
        assert flag in example
        code = example.replace(flag, ", ".join([flag, *(f'"{port}"' for port in PORTS)]))
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("certificates from port ")
