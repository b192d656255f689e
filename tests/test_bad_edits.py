"""Bad edits of a running authority's files: none of them changes anything, all are reported, and a good one recovers.

Each edit has an application of its own, with real files and a real watcher. As nearly all of the time is spent waiting
for the watcher's quiet, many are tried side by side; each is a test of its own nevertheless.
"""

import json
import os
import pwd
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trio
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

import sentry_trio.environments.standalone
from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.client import Authority, Obtained, Workload, obtain
from sentry_trio.watchers.content import ContentTracker
from testkit.authorities import Served, serving, wall_clock
from testkit.log_capture import Line, hear_logs
from tests.edits import configurations, credentials, files
from tests.edits.bundles import BETTER, GOOD, GOOD_FINGERPRINT
from tests.edits.configurations import ENVIRON
from tests.edits.place import BETTER_TTL, CONFIG, CREDENTIALS, GOOD_TTL, BadEdit, Place, put_back, put_better

BAD_EDITS: list[BadEdit] = [*files.EDITS, *credentials.EDITS, *configurations.EDITS]

SIDE_BY_SIDE = 16
Outcome = Callable[[], None]


@dataclass
class Told:
    """Log of one application, and the times at which its watcher has read the files."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    looked: trio.Event = field(default_factory=trio.Event)

    def errors(self) -> list[str]:
        return [message for level, message in self.lines if level not in {"debug", "info", "warning"}]


# Inherited by every task and thread of an application from the task that has started it.
_TOLD: ContextVar[Told] = ContextVar("reported")


def _keep(line: Line) -> None:
    assert "exc_info" not in line
    _TOLD.get().lines.append((line["log_level"], line["event"]))


class _SeenTracker(ContentTracker):
    """Reports when it has looked: an edit that is made between two looks is seen whole by the next."""

    async def take_changed(self) -> frozenset[Path]:
        changed = await super().take_changed()
        _TOLD.get().looked.set()
        return changed


@contextmanager
def _overheard() -> Iterator[None]:
    with hear_logs(_keep), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentry_trio.environments.standalone, "ContentTracker", _SeenTracker)
        yield


# --- one edit


async def _until(served: Served, *, error: str = "", **expected: object) -> Mapping[str, object]:
    """Polls health until it reports this, as the reason of degradation or otherwise; it is ready all the time."""
    with trio.fail_after(60):
        while True:
            status, body = await served.get("/readyz?verbose")
            assert status == 200
            answer = json.loads(body)
            assert isinstance(answer, dict)
            if expected.items() <= answer.items() and error in str(answer["degraded"]):
                return answer
            await trio.sleep(0.05)  # between two questions, not for something to have happened


async def _obtain(served: Served, anchors: bytes) -> Obtained:
    """Asks for a certificate, whatever the files hold by now."""
    authority = Authority(
        host="127.0.0.1",
        port=served.application.grpc_port,
        trust_anchors=anchors,
        spiffe_id="spiffe://localhost/ns/default/dapr-sentry",
    )
    return await trio.to_thread.run_sync(partial(obtain, authority, Workload(app_id="myapp", namespace="default")))


async def _signs(served: Served, bundle: StoredBundle) -> Obtained:
    obtained = await _obtain(served, bundle.anchors)
    assert (obtained.anchors, obtained.chain.endswith(bundle.chain)) == (bundle.anchors, True)
    issuer = x509.load_pem_x509_certificate(bundle.chain)
    obtained.certificate.verify_directly_issued_by(issuer)
    return obtained


async def _counted(served: Served, name: str) -> dict[str, float]:
    """Values of a counter other than zero, by its only label."""
    _, exposed = await served.get("/metrics", port=served.application.metrics_port)
    lines = "".join(line for line in exposed.splitlines(keepends=True) if line.startswith(name))
    return {
        next(iter(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(lines)
        for sample in family.samples
        if sample.name == name and sample.value
    }


async def _changes_nothing(bad: BadEdit, place: Place) -> None:
    reported = Told()
    _TOLD.set(reported)
    put_back(place)
    async with serving(place.credentials, "--config", str(place.path(CONFIG)), environ=ENVIRON) as served:
        await reported.looked.wait()
        bad.edit(place)

        answer = await _until(served, last_restart="failed")
        said = str(answer["degraded"])
        assert bad.error.replace("{credentials}", str(place.credentials)) in said
        assert tuple(name for name in (*CREDENTIALS, CONFIG) if str(place.path(name)) in said) == tuple(
            sorted(bad.blames, key=[*CREDENTIALS, CONFIG].index)
        )
        assert said.isprintable()
        assert len(said) < 600
        assert reported.errors() == [f"reload failed, still running the previous configuration: {said}"]
        assert await _counted(served, "sentry_restart_failures_total") == {bad.cause.value: 1}

        assert (answer["run"], answer["bundle"]) == (1, GOOD_FINGERPRINT)
        assert await served.get("/healthz") == (200, "")
        obtained = await _signs(served, GOOD)
        assert obtained.valid_until <= wall_clock() + GOOD_TTL

        bad.recovery(place)
        answer = await _until(served, run=2, last_restart="succeeded", degraded=None)
        better = bad.recovery is put_better
        assert (answer["bundle"] != GOOD_FINGERPRINT) == better
        obtained = await _signs(served, BETTER if better else GOOD)
        assert (obtained.valid_until < wall_clock() + BETTER_TTL) == better
        assert await _counted(served, "sentry_restarts_total") == {"failure": 1, "success": 1}
        assert len(reported.errors()) == 1


# --- all of them


def _try_all(edits: list[BadEdit], root: Path) -> dict[str, Outcome]:
    """Tries edits side by side; a failure is kept, to be raised by the test whose it is."""
    outcomes: dict[str, Outcome] = {}

    async def one(bad: BadEdit, place: Place, limit: trio.CapacityLimiter) -> None:
        async with limit:
            try:
                await _changes_nothing(bad, place)
            except (Exception, BaseExceptionGroup) as failure:  # noqa: BLE001  # raised again, see above
                outcomes[bad.name] = partial(_fail, failure)
            else:
                outcomes[bad.name] = _succeed

    async def main() -> None:
        limit = trio.CapacityLimiter(SIDE_BY_SIDE)
        async with trio.open_nursery() as nursery:
            for number, bad in enumerate(edits):
                place = Place(root / str(number))
                place.root.mkdir()
                nursery.start_soon(one, bad, place, limit)

    with _overheard():
        trio.run(main)
    return outcomes


def _succeed() -> None: ...


def _fail(failure: BaseException) -> None:
    raise failure


class _NobodyError(Exception):
    """There is no lesser user, or this one may not become it."""


@contextmanager
def _bound_by_permissions() -> Iterator[Path]:
    """Runs the block as a user without root's privileges; yields a directory of that user."""
    with tempfile.TemporaryDirectory(prefix="sentry-trio-") as directory:
        if os.geteuid() != 0:
            yield Path(directory)
            return
        try:
            nobody = pwd.getpwnam("nobody").pw_uid
            os.chown(directory, nobody, -1)
            os.seteuid(nobody)
        except (KeyError, OSError) as error:
            raise _NobodyError(f"root cannot become nobody: {error}") from error
        try:
            yield Path(directory)
        finally:
            os.seteuid(0)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Results of the selected edits."""
    chosen = [
        bad
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test_a_bad_edit_changes_nothing
        if isinstance(bad := item.callspec.params["bad"], BadEdit)
    ]
    found = _try_all([bad for bad in chosen if not bad.unprivileged], tmp_path_factory.mktemp("edits"))
    if bound := [bad for bad in chosen if bad.unprivileged]:
        try:
            with _bound_by_permissions() as directory:
                found |= _try_all(bound, directory)
        except _NobodyError as error:
            found |= dict.fromkeys((bad.name for bad in bound), partial(pytest.skip, str(error)))
    return found


@pytest.mark.uncovered
@pytest.mark.parametrize("bad", BAD_EDITS, ids=lambda bad: bad.name)
def test_a_bad_edit_changes_nothing(bad: BadEdit, outcomes: dict[str, Outcome]) -> None:
    outcomes[bad.name]()


async def test_one_bad_edit_after_another_changes_nothing_either(tmp_path: Path) -> None:
    """Each is reported in turn, because an error in a file that is read first hides later ones."""
    names = ("key empty", "chain empty", "anchors empty", "issuer.key is a directory", "negative TTL")
    edits = {bad.name: bad for bad in BAD_EDITS}
    place = Place(tmp_path)
    reported = Told()
    _TOLD.set(reported)
    put_back(place)
    with _overheard():
        async with serving(place.credentials, "--config", str(place.path(CONFIG))) as served:
            await reported.looked.wait()
            for name in names:
                edits[name].edit(place)
                error = edits[name].error.replace("{credentials}", str(place.credentials))
                await _until(served, error=error, run=1, last_restart="failed")
            assert len(reported.errors()) == len(names)
            assert await _counted(served, "sentry_restart_failures_total") == {
                "bundle": 3,
                "store": 1,
                "configuration": 1,
            }
            await _signs(served, GOOD)
            put_better(place)
            await _until(served, run=2, degraded=None)
            await _signs(served, BETTER)
