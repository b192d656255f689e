"""One run: that nothing of it is left wherever its life is cut, how long it drains, and which run signs what."""

import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trio
from cryptography import x509
from grpclib.const import Status
from trio.testing import wait_all_tasks_blocked

import sentry_trio.environments.standalone
import sentry_trio.run
from sentry_trio import app
from sentry_trio.ca.bundle import StoredBundle, verify
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.parts import bundle_parts
from sentry_trio.component_settings import environment_settings, grpc_limits
from sentry_trio.conditions import Conditions
from sentry_trio.environments.standalone import Standalone
from sentry_trio.errors import InvalidBundleError, IssuerNotValidError, Part, StoreError
from sentry_trio.grpc.admission import Network
from sentry_trio.grpc.framing import frame_message
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest, SignCertificateResponse
from sentry_trio.reload import ReloadCause
from sentry_trio.run import Run, RunContext, prepare_run
from sentry_trio.settings.command_line import parse_options
from sentry_trio.stores.directory import DirectoryStore
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import AuthenticatedCaller, Validators, check_request
from testkit.authorities import LOOPBACK, SKEW, made_csr, serving, wall_clock
from testkit.credentials import two_issuers
from testkit.grpc.raw import Answer, peering, request_head
from testkit.leftovers import Cut, nothing_left
from testkit.stores import by_part, load

OK, UNAVAILABLE = Status.OK.value, Status.UNAVAILABLE.value
NAMES = ("ca.crt", "issuer.crt", "issuer.key")
SLOW, QUICK = "slow", "quick"


def made() -> StoredBundle:
    return generate("localhost", "default", KeyType.P256, now=wall_clock(), allowed_clock_skew=SKEW)


def store_of(directory: Path) -> DirectoryStore:
    return DirectoryStore(by_part([directory / name for name in NAMES]))


def write(directory: Path, bundle: StoredBundle) -> None:
    for part, content in bundle_parts(bundle).items():
        store_of(directory).paths[part].write_bytes(content)


@contextmanager
def surrounded(directory: Path, *flags: str) -> Iterator[RunContext]:
    arguments = ["--mode", "standalone", "--issuer-credentials", str(directory), *LOOPBACK, *flags]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        options, metrics = parse_options(arguments, {}), Metrics()
        settings = environment_settings(options)
        yield RunContext(
            identity=settings.identity,
            limits=grpc_limits(options),
            environment=Standalone(settings, {}, metrics=metrics, now=wall_clock, conditions=Conditions()),
            listeners=[listener],
            metrics=metrics,
            now=wall_clock,
            authority_serves=lambda: True,
        )


async def unchanged(*causes: ReloadCause) -> None:
    pytest.fail("no file has changed")


def test_changed_files_are_grouped_by_their_content(tmp_path: Path) -> None:
    jwt = ("--jwt-enabled", "--config", str(tmp_path / "config"))
    with surrounded(tmp_path, *jwt) as around:
        standalone = around.environment
        assert isinstance(standalone, Standalone)
        changed = frozenset(tmp_path / name for name in ("ca.crt", "issuer.key", "config", "jwks.json"))
        assert list(map(str, standalone._causes(changed))) == [
            f"trust bundle changed: {tmp_path}/ca.crt, {tmp_path}/issuer.key",
            f"JWT signing key changed: {tmp_path}/jwks.json",
            f"configuration changed: {tmp_path}/config",
        ]
        assert list(map(str, standalone._causes(changed & {tmp_path / "config"}))) == [
            f"configuration changed: {tmp_path}/config"
        ]


# --- cancellation


async def _prepare_and_drop(around: RunContext) -> None:
    await prepare_run(around, unchanged, may_generate=True)


async def test_the_preparation_of_a_run_may_be_cancelled_at_every_step(tmp_path: Path) -> None:
    """The trust bundle that it generates is there as a whole, or nothing is."""
    outcomes = []
    for steps in itertools.count():
        directory = tmp_path / str(steps)
        directory.mkdir()
        with surrounded(directory) as around:
            async with nothing_left():
                cut = Cut(steps)
                await cut.run(partial(_prepare_and_drop, around))
        found = sorted(path.name for path in directory.iterdir())
        assert found in ([], sorted(NAMES))
        if found:
            stored = await load(store_of(directory))
            assert stored is not None
            verify(stored, wall_clock())
        outcomes.append((cut.made, bool(found)))
        if not cut.made:
            break
    # Cut before anything was written, cut when all was, and not cut: each has been seen, in that order.
    assert outcomes[0] == (True, False)
    assert outcomes[-1] == (False, True)
    assert len(outcomes) > 8


async def test_a_run_may_be_ended_at_every_step_of_its_start(tmp_path: Path) -> None:
    write(tmp_path, made())

    async def serve(run: Run, reached: list[bool], begun: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(run.serve)
            reached.append(True)
            begun.set()

    started: list[bool] = []
    with surrounded(tmp_path) as around:
        for steps in itertools.count():
            async with nothing_left():
                run = await prepare_run(around, unchanged, may_generate=False)
                cut = Cut(steps)
                # Longer than the watcher is quiet: its first look is taken.
                begun = trio.Event()
                await cut.run(partial(serve, run, started, begun), patience=0.5, begun=begun)
            if not cut.made:
                break
    assert 0 < len(started) < steps - 8


async def test_a_whole_application_may_be_ended_at_any_step(tmp_path: Path) -> None:
    flags = ["--mode", "standalone", *LOOPBACK, "--issuer-credentials"]

    async def serve(directory: Path, begun: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            options = parse_options([*flags, str(directory)], {})
            await nursery.start(partial(app.serve, options, environ={}))
            begun.set()

    for steps in itertools.count(0, 3):
        directory = tmp_path / str(steps)
        directory.mkdir()
        async with nothing_left():
            cut = Cut(steps)
            begun = trio.Event()
            await cut.run(partial(serve, directory, begun), patience=0.5, begun=begun)
        assert sorted(path.name for path in directory.iterdir()) in ([], sorted(NAMES))
        if not cut.made:
            break
    assert steps > 50


# --- a run that serves


@dataclass
class Hesitant:
    """Keeps callers of the app ID `slow` waiting until released."""

    arrived: trio.Event = field(default_factory=trio.Event)
    release: trio.Event = field(default_factory=trio.Event)

    async def validate(self, request: SignCertificateRequest, network: Network) -> AuthenticatedCaller:
        if request.id == SLOW:
            self.arrived.set()
            await self.release.wait()
        return AuthenticatedCaller(trust_domain=check_request(request))


@pytest.fixture
def hesitant(monkeypatch: pytest.MonkeyPatch) -> Hesitant:
    """In every run of the test; the one that authenticates in the place of all others."""
    validator = Hesitant()
    insecure = SignCertificateRequest.INSECURE
    validators = Validators(present={insecure: validator}, default=insecure)
    monkeypatch.setattr(Standalone, "_validators", lambda *_: validators)
    return validator


@dataclass
class Caller:
    """Asks by HTTP/2 frames, one call a connection; answers are kept."""

    port: int
    anchors: bytes
    answers: list[Answer] = field(default_factory=list)
    answered: trio.Event = field(default_factory=trio.Event)
    answered_at: float = 0.0

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # the authority's certificate has a SPIFFE ID and no other name
        context.load_verify_locations(cadata=self.anchors.decode())
        context.set_alpn_protocols(["h2"])
        return context

    async def ask(self, app_id: str) -> None:
        request = SignCertificateRequest(id=app_id, namespace="default", certificate_signing_request=made_csr())
        head = request_head(path="/dapr.proto.sentry.v1.CA/SignCertificate")
        async with peering(self.port, context=self.context()) as peer:
            peer.compose(1, head, frame_message(request.SerializeToString()))
            await peer.flush()
            self.answers.append(await peer.answer(1))
            self.answered_at = trio.current_time()
            self.answered.set()
            await peer.closed()

    def signed_with(self, bundle: StoredBundle) -> None:
        (answer,) = self.answers
        assert answer.status == OK
        response = SignCertificateResponse.FromString(answer.data[5:])
        leaf, issuer = x509.load_pem_x509_certificates(response.workload_certificate)
        leaf.verify_directly_issued_by(issuer)
        assert issuer == x509.load_pem_x509_certificate(bundle.chain)
        assert response.trust_chain_certificates == [bundle.anchors]

    def turned_away(self) -> None:
        (answer,) = self.answers
        assert (answer.status, answer.message) == (UNAVAILABLE, "the server is shutting down")


@dataclass
class ServedRun:
    """A run by itself on loopback."""

    port: int
    bundle: StoredBundle
    scope: trio.CancelScope
    ended: trio.Event

    def caller(self) -> Caller:
        return Caller(self.port, self.bundle.anchors)


@asynccontextmanager
async def serving_run(directory: Path, *flags: str) -> AsyncIterator[ServedRun]:
    """Serves until the block is left or `scope` is cancelled."""
    bundle = made()
    write(directory, bundle)
    with surrounded(directory, *flags) as around:
        run = await prepare_run(around, unchanged, may_generate=False)
        served = ServedRun(_port(around.listeners[0]), bundle, trio.CancelScope(), trio.Event())

        async def serve(*, task_status: trio.TaskStatus[None]) -> None:
            try:
                with served.scope:
                    await run.serve(task_status=task_status)
            finally:
                served.ended.set()

        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            yield served
            served.scope.cancel()


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


async def _idle(port: int) -> None:
    """Has completed its handshake and sends no more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    async with peering(port, context=context):
        await trio.sleep_forever()


async def _silent(port: int) -> None:
    """Sends nothing at all."""
    async with await trio.open_tcp_stream("127.0.0.1", port):
        await trio.sleep_forever()


async def _half_greeted(port: int) -> None:
    """Begins a handshake."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"\x16\x03\x01")
        await trio.sleep_forever()


@pytest.mark.parametrize(
    ("present", "again"),
    [
        pytest.param((_idle, _silent, _half_greeted), False, id="once"),
        pytest.param((_idle, _silent), True, id="and again while it drains"),
    ],
)
async def test_a_run_with_open_connections_leaves_nothing(
    tmp_path: Path, hesitant: Hesitant, present: tuple[Callable[[int], Awaitable[None]], ...], again: bool
) -> None:
    async with nothing_left():
        async with trio.open_nursery() as peers, serving_run(tmp_path, "--drain-timeout=300ms") as served:
            for peer in present:
                peers.start_soon(peer, served.port)
            caller = served.caller()
            peers.start_soon(caller.ask, SLOW)
            await hesitant.arrived.wait()
            served.scope.cancel()
            if again:
                await wait_all_tasks_blocked(0.05)
                assert not served.ended.is_set()
                served.scope.cancel()
            with trio.fail_after(60):
                await served.ended.wait()
            peers.cancel_scope.cancel()
        caller.turned_away()


async def test_standalone_names_of_the_scheduler_end_in_the_trust_domain(tmp_path: Path) -> None:
    """Dapr Sentry asks no DNS server in standalone mode."""
    async with serving_run(tmp_path, "--trust-domain=mesh.example") as served, trio.open_nursery() as peers:
        caller = served.caller()
        peers.start_soon(caller.ask, "dapr-scheduler")
        await caller.answered.wait()
        peers.cancel_scope.cancel()
    response = SignCertificateResponse.FromString(caller.answers[0].data[5:])
    leaf = x509.load_pem_x509_certificate(response.workload_certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName)[2] == (
        "dapr-scheduler-server-2.dapr-scheduler-server.default.svc.mesh.example"
    )


async def test_a_wider_cancellation_waits_for_a_draining_run(tmp_path: Path, hesitant: Hesitant) -> None:
    """A second, wider cancellation neither cuts the drain short nor lengthens it."""
    async with nothing_left(), trio.open_nursery() as outside:
        with trio.CancelScope() as wide:
            async with serving_run(tmp_path, "--drain-timeout=300ms") as served:
                caller = served.caller()
                outside.start_soon(caller.ask, SLOW)
                await hesitant.arrived.wait()
                served.scope.cancel()
                await wait_all_tasks_blocked(0.05)
                wide.cancel()
        assert served.ended.is_set()
        hesitant.release.set()
    caller.turned_away()


@pytest.mark.parametrize("seconds", [0, 0.6])
async def test_a_call_that_outlasts_the_drain_is_answered_unavailable(
    tmp_path: Path, hesitant: Hesitant, seconds: float
) -> None:
    async with serving_run(tmp_path, f"--drain-timeout={seconds}s") as served, trio.open_nursery() as nursery:
        caller = served.caller()
        nursery.start_soon(caller.ask, SLOW)
        await hesitant.arrived.wait()
        begin = trio.current_time()
        served.scope.cancel()
        with trio.fail_after(60):
            await served.ended.wait()
    caller.turned_away()
    assert caller.answered_at - begin >= seconds


async def test_a_call_that_ends_in_time_is_answered_by_the_draining_run(tmp_path: Path, hesitant: Hesitant) -> None:
    async with serving_run(tmp_path, "--drain-timeout=1h") as served, trio.open_nursery() as nursery:
        caller = served.caller()
        nursery.start_soon(caller.ask, SLOW)
        await hesitant.arrived.wait()
        served.scope.cancel()
        await wait_all_tasks_blocked(0.05)
        hesitant.release.set()
        with trio.fail_after(60):
            await served.ended.wait()
    caller.signed_with(served.bundle)


async def test_calls_in_flight_are_signed_by_the_run_that_took_them(tmp_path: Path, hesitant: Hesitant) -> None:
    old, new = two_issuers()
    write(tmp_path, old)
    async with serving(tmp_path) as served, trio.open_nursery() as nursery:
        caller = Caller(served.application.grpc_port, old.anchors)
        nursery.start_soon(caller.ask, SLOW)
        await hesitant.arrived.wait()
        write(tmp_path, new)
        await served.application.authority.restart()
        later = Caller(served.application.grpc_port, new.anchors)
        nursery.start_soon(later.ask, QUICK)
        with trio.fail_after(60):
            await later.answered.wait()
        later.signed_with(new)
        assert not caller.answered.is_set()
        hesitant.release.set()
        with trio.fail_after(60):
            await caller.answered.wait()
        caller.signed_with(old)
        nursery.cancel_scope.cancel()


# --- what keeps a run from being


async def _refused(directory: Path, kind: type[Exception], *flags: str) -> str:
    with surrounded(directory, *flags) as around, pytest.raises(kind) as refused:
        await prepare_run(around, unchanged, may_generate=False)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("ca.crt", (Part.ANCHORS,)),
        ("issuer.crt", (Part.CHAIN,)),
        ("issuer.key", (Part.KEY,)),
    ],
)
async def test_the_part_at_fault_is_named_with_its_file(tmp_path: Path, name: str, parts: tuple[Part, ...]) -> None:
    write(tmp_path, made())
    (tmp_path / name).write_bytes(b"")
    with surrounded(tmp_path) as around, pytest.raises(InvalidBundleError) as refused:
        await prepare_run(around, unchanged, may_generate=False)
    assert refused.value.parts == parts
    assert str(refused.value).endswith(f" ({parts[0].value} {tmp_path / name})")


async def test_both_are_named_of_two_that_do_not_go_together(tmp_path: Path) -> None:
    write(tmp_path, made())
    (tmp_path / "issuer.key").write_bytes(made().key)
    text = await _refused(tmp_path, InvalidBundleError)
    assert text.endswith(f" (issuer chain {tmp_path / 'issuer.crt'}, issuer key {tmp_path / 'issuer.key'})")


async def test_an_issuer_that_expires_while_it_is_tried_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, made())

    def expired(*_: object, **__: object) -> None:
        raise IssuerNotValidError("the issuer certificate chain has expired")

    monkeypatch.setattr(sentry_trio.run, "ServingIdentity", expired)
    text = await _refused(tmp_path, IssuerNotValidError)
    assert text.startswith("failed to make the serving certificate: the issuer certificate chain has expired (issuer ")


async def test_directories_of_credentials_have_to_be_some(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert await _refused(tmp_path / "file", StoreError) == f"failed to add target {tmp_path}/file: not a directory"
