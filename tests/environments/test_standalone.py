"""Runs made of files."""

from pathlib import Path

import pytest
import trio

from sentry_trio.ca.parts import Parts
from sentry_trio.component_settings import environment_settings
from sentry_trio.conditions import Conditions
from sentry_trio.environments.standalone import Standalone
from sentry_trio.reload import ReloadCause, Trigger
from sentry_trio.settings.command_line import parse_options
from sentry_trio.stores.directory import DirectoryStore
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.watchers.content import ContentTracker
from testkit.authorities import wall_clock


async def test_an_edit_is_reported_although_the_renewal_reads_it_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[ReloadCause] = []
    edited, is_read, is_reported = trio.Event(), trio.Event(), trio.Event()
    read_bundle = DirectoryStore.read_bundle

    async def read_first(store: DirectoryStore) -> Parts:
        found = await read_bundle(store)
        if edited.is_set():
            is_read.set()
        return found

    class LaterTracker(ContentTracker):
        async def take_changed(self) -> frozenset[Path]:
            await is_read.wait()
            return await super().take_changed()

    async def changed(*causes: ReloadCause) -> None:
        reported.extend(causes)
        is_reported.set()

    monkeypatch.setattr(DirectoryStore, "read_bundle", read_first)
    monkeypatch.setattr("sentry_trio.environments.standalone.ContentTracker", LaterTracker)
    settings = environment_settings(parse_options([f"--issuer-credentials={tmp_path}"], {}))
    standalone = Standalone(settings, {}, metrics=Metrics(), now=wall_clock, conditions=Conditions())
    async with standalone.open() as environment:
        inputs = await environment.run_inputs(may_generate=True)
        with (tmp_path / "ca.crt").open("ab") as anchors:
            anchors.write(b"\n")
        edited.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inputs.watch, changed)
            with trio.move_on_after(10):
                await is_reported.wait()
            nursery.cancel_scope.cancel()
    assert [cause.trigger for cause in reported] == [Trigger.TRUST_BUNDLE]
