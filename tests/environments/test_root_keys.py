"""Root keys that are kept, while authorities serve: renewals without other trust anchors, and keys that fail."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.bundle import verify
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.parts import BUNDLE, ROOT_KEYS, bundle_of
from sentry_trio.errors import InvalidBundleError, Part, StoreError
from sentry_trio.renewal_status import HoldReason
from testkit.ca.renewing import foreign_authority, parts_of
from testkit.kube.fakes import installed
from testkit.log_capture import Line
from testkit.renewal import (
    BEGIN,
    DAY,
    END,
    START,
    MemoryEnvironment,
    MemoryStore,
    later,
    phase,
    serving,
    until,
    until_after,
)
from testkit.secret_renewal import SecretEnvironment, SecretShelf

WEEK = 7 * DAY


_Result = TypeVar("_Result")


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time does not wait for threads."""

    async def run(function: Callable[..., _Result], *arguments: object, **_how: bool) -> _Result:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run)


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text("correct horse\n")
    return path


@pytest.fixture
def keep(passphrase: Path) -> tuple[str, str]:
    return "--ca-root-key=keep", f"--ca-root-key-passphrase-file={passphrase}"


async def store_with_root_key(*flags: str) -> MemoryStore:
    """Store of an authority that keeps its root key, after its first start."""
    replica = MemoryEnvironment(MemoryStore(), *flags)
    async with serving(replica):
        await later(replica, 20)
    return replica.store


def held(replica: MemoryEnvironment) -> str:
    return (replica.renewal.held or "") if replica.renewal else ""


async def test_a_renewal_leaves_the_trust_anchors(
    autojump_clock: MockClock, keep: tuple[str, str], lines: list[Line]
) -> None:
    replica = MemoryEnvironment(MemoryStore(), *keep)
    async with serving(replica):
        first = replica.runs[-1]
        key = replica.store.stored[Part.ROOT_KEY]
        assert b"ENCRYPTED" in key
        await later(replica, 20)
        assert replica.renewal is not None
        assert (replica.renewal.has_root_key, replica.renewal.next_step) == (True, "renew-issuer")
        await until_after(replica, BEGIN, 180)
        assert phase(replica) == "signing"
        assert replica.runs[-1].chain != first.chain
        await until(replica, BEGIN + DAY + 1200)
        assert phase(replica) == "retiring"
        assert (replica.runs[-1].anchors, replica.store.stored[Part.ROOT_KEY]) == (first.anchors, key)
        assert Part.PREVIOUS_KEY not in replica.store.stored
    assert replica.reasons == ["IssuerSwitched", "OldKeyErased"]
    assert len(replica.runs) == 2
    assert replica.counted("dapr_sentry_ca_renewal_total") == 1
    assert replica.counted("dapr_sentry_ca_switchover_total") == 1
    assert not any("correct horse" in str(line) or "PRIVATE KEY" in str(line) for line in lines)


async def test_a_renewal_writes_no_config_map(autojump_clock: MockClock, keep: tuple[str, str]) -> None:
    api = installed()
    shelf = SecretShelf(api)
    replicas = [SecretEnvironment(api, shelf, *keep, chance=chance) for chance in (0.2, 0.8)]
    async with serving(*replicas):
        await until(replicas[0], 60)
        before = api.count("replace", "configmaps")
        issuer = replicas[0].runs[-1].issuer
        await until_after(replicas[0], BEGIN, 180)
        await until(replicas[0], BEGIN + DAY + 1000)
        await later(replicas[0], 600)
        assert phase(replicas[0]) == "retiring"
    assert all(replica.runs[-1].issuer != issuer for replica in replicas)
    assert len({replica.runs[-1].fingerprint for replica in replicas}) == 1
    assert api.count("replace", "configmaps") == before
    assert not any(replica.failures for replica in replicas)


async def test_a_key_that_cannot_be_decrypted_is_reported_and_never_stops_the_service(
    autojump_clock: MockClock,
    keep: tuple[str, str],
    passphrase: Path,
    lines: list[Line],
) -> None:
    store = await store_with_root_key(*keep)
    passphrase.write_text("battery staple\n")
    replica = MemoryEnvironment(store, *keep)
    async with serving(replica):
        await later(replica, 150)
        assert held(replica).startswith("the root key cannot be used: the passphrase is wrong")
        assert replica.renewal is not None
        assert replica.renewal.held_reason == HoldReason.ROOT_KEY
        warnings = [line for line in lines if line["event"].startswith("the root key cannot be used to renew")]
        assert len(warnings) == 1
        passphrase.unlink()
        await later(replica, 150)
        assert held(replica).startswith("cannot read the passphrase file")
        await until_after(replica, BEGIN, 180)
        assert (phase(replica), replica.reasons) == ("steady", ["RenewalHeld"])
        passphrase.write_text("correct horse\n")
        await later(replica, 700)
        assert phase(replica) == "signing"
        assert held(replica) == ""
        assert len(replica.runs[-1].anchors) == 1


async def test_a_key_that_stays_useless_is_given_up_after_a_week(
    autojump_clock: MockClock, keep: tuple[str, str], passphrase: Path
) -> None:
    replica = MemoryEnvironment(MemoryStore(), *keep)
    async with serving(replica):
        passphrase.unlink()
        await until(replica, BEGIN + WEEK - 10)
        assert phase(replica) == "steady"
        await later(replica, 1200)
        assert phase(replica) == "distributing"
        assert len(replica.runs[-1].anchors) == 2
    assert Part.NEXT_ROOT_KEY not in replica.store.stored


async def test_a_passphrase_file_that_every_user_can_read_is_reported_once(
    autojump_clock: MockClock, keep: tuple[str, str], passphrase: Path, lines: list[Line]
) -> None:
    passphrase.chmod(0o644)
    for directory in passphrase.parents:  # pytest's own are for their owner alone
        if not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o001)
    replica = MemoryEnvironment(MemoryStore(), *keep)
    async with serving(replica):
        await until(replica, BEGIN + 180)
        assert phase(replica) == "signing"
    assert len([line for line in lines if "read or replace the passphrase file" in str(line["event"])]) == 1


async def test_discard_erases_a_key_at_the_next_start(
    autojump_clock: MockClock, keep: tuple[str, str], lines: list[Line]
) -> None:
    replica = MemoryEnvironment(await store_with_root_key(*keep))
    async with serving(replica):
        await later(replica, 150)
        assert not set(ROOT_KEYS) & replica.store.stored.keys()
        assert replica.renewal is not None
        assert (replica.renewal.has_root_key, replica.renewal.next_step) == (False, "publish")
    assert [line["event"] for line in lines if line.get("step") == "discard"] == [
        "CA renewal: the root key is erased, because --ca-root-key is discard"
    ]
    assert replica.reasons == ["RootKeyErased"]
    assert len(replica.runs) == 1


@pytest.mark.parametrize("flag", ["--ca-root-key=keep", "--ca-root-key=discard"])
async def test_keys_that_are_left_over_are_erased_without_a_warning(
    autojump_clock: MockClock, keep: tuple[str, str], lines: list[Line], flag: str
) -> None:
    replica = MemoryEnvironment(MemoryStore(), *keep)
    async with serving(replica):
        await later(replica, 20)
    key = replica.store.stored.pop(Part.ROOT_KEY)
    replica.store.edit(
        {Part.PREVIOUS_ROOT_KEY: key} if "discard" in flag else {Part.ROOT_KEY: key, Part.NEXT_ROOT_KEY: key}
    )
    replica = MemoryEnvironment(replica.store, flag, keep[1])
    async with serving(replica):
        await later(replica, 150)
        assert (Part.ROOT_KEY in replica.store.stored) is ("keep" in flag)
        assert not {Part.PREVIOUS_ROOT_KEY, Part.NEXT_ROOT_KEY} & replica.store.stored.keys()
    assert [line["log_level"] for line in lines if line.get("step") == "discard"] == ["info"]
    assert replica.reasons == []


async def test_the_key_of_a_root_that_is_not_in_use_is_erased_without_a_warning(
    autojump_clock: MockClock, keep: tuple[str, str], lines: list[Line]
) -> None:
    store = await store_with_root_key(*keep)
    root = store.stored[Part.ANCHORS]
    current = generate("td", "ns", KeyType.ED25519, now=START, allowed_clock_skew=timedelta(minutes=15))
    store.edit({**parts_of(current), Part.ANCHORS: current.anchors + root})
    replica = MemoryEnvironment(store)
    async with serving(replica):
        await later(replica, 150)
        assert Part.ROOT_KEY not in replica.store.stored
    assert [line["log_level"] for line in lines if line.get("step") == "discard"] == ["info"]
    assert "RootKeyErased" not in replica.reasons


async def test_another_issuer_that_is_put_in_leaves_the_root_key(
    autojump_clock: MockClock, keep: tuple[str, str], lines: list[Line]
) -> None:
    """The log and an Event report it. If the former issuer is put back, it is renewed below its root."""
    replica = MemoryEnvironment(MemoryStore(), *keep)
    async with serving(replica):
        await later(replica, 20)
    store, own = replica.store, dict(replica.store.stored)
    store.edit(parts_of(foreign_authority(START)))
    replica = MemoryEnvironment(store, *keep)
    async with serving(replica):
        await later(replica, 300)
        assert store.stored[Part.ROOT_KEY] == own[Part.ROOT_KEY]
        assert held(replica).startswith("the stored root key does not name a root of this certificate authority")
        assert replica.reasons == ["TrustCut", "RenewalHeld"]
        stray = "no renewal needs or removes these private keys beside the trust bundle: root key on the shelf"
        assert any(str(line["event"]).startswith(stray) for line in lines)
    store.edit({part: own[part] for part in BUNDLE})
    replica = MemoryEnvironment(store, *keep)
    async with serving(replica):
        await until(replica, BEGIN - 10)
        await until(replica, BEGIN + 180)
        assert (phase(replica), replica.reasons[-1]) == ("signing", "IssuerSwitched")


async def test_a_root_key_is_checked_again_when_the_issuer_changes(
    autojump_clock: MockClock, keep: tuple[str, str]
) -> None:
    other = parts_of(foreign_authority(START))
    fingerprint = verify(bundle_of(other), START).fingerprint
    replica = MemoryEnvironment(MemoryStore(), *keep, f"--allow-trust-cut={fingerprint}")
    async with serving(replica):
        await later(replica, 90)
        assert held(replica) == ""
        replica.store.edit(other)
        await later(replica, 90)
        assert len(replica.runs) == 2
        assert held(replica).startswith("the stored root key does not name a root of this certificate authority")


async def test_the_loss_of_both_the_root_key_and_the_record_is_reported(
    autojump_clock: MockClock, keep: tuple[str, str]
) -> None:
    replica = MemoryEnvironment(MemoryStore(), *keep)
    async with serving(replica):
        await later(replica, 20)
        key = replica.store.stored[Part.ROOT_KEY]
        replica.store.edit({Part.ROOT_KEY: None, Part.RECORD: None})
        await later(replica, 150)
        assert held(replica).startswith("--ca-root-key is keep, but neither a root key nor a renewal record shows")
        assert replica.renewal is not None
        assert replica.renewal.held_reason == HoldReason.BUNDLE
        assert replica.counted('sentry_ca_held{reason="bundle"}') == 1
        assert replica.reasons == ["RenewalHeld"]
        replica.store.edit({Part.ROOT_KEY: key})
        await later(replica, 150)
        assert held(replica) == ""
        assert replica.renewal.next_step == "renew-issuer"


async def test_without_the_passphrase_no_authority_is_generated(
    autojump_clock: MockClock, keep: tuple[str, str], passphrase: Path
) -> None:
    passphrase.write_text("short\n")
    replica = MemoryEnvironment(MemoryStore(), *keep)
    with pytest.raises(StoreError, match="must have at least 8 characters"):
        await replica.run_inputs(may_generate=True)
    assert replica.store.stored == {}


async def test_files_need_no_passphrase(autojump_clock: MockClock) -> None:
    replica = MemoryEnvironment(MemoryStore(), "--ca-root-key=keep")
    async with serving(replica):
        await until_after(replica, BEGIN, 180)
        assert phase(replica) == "signing"
    assert b"BEGIN PRIVATE KEY" in replica.store.stored[Part.ROOT_KEY]


async def test_a_key_that_is_not_encrypted_becomes_so_at_the_next_start(
    autojump_clock: MockClock, keep: tuple[str, str], passphrase: Path
) -> None:
    store = await store_with_root_key(keep[0])
    passphrase.rename(passphrase.with_name("elsewhere"))
    replica = MemoryEnvironment(store, *keep)
    async with serving(replica):
        await later(replica, 200)
        assert b"BEGIN PRIVATE KEY" in replica.store.stored[Part.ROOT_KEY]
        assert held(replica).startswith("cannot read the passphrase file")
        passphrase.with_name("elsewhere").rename(passphrase)
        await later(replica, 200)
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in replica.store.stored[Part.ROOT_KEY]
        assert held(replica) == ""
        assert len(replica.runs) == 1


async def test_an_issuer_that_has_expired_is_renewed_at_start(
    autojump_clock: MockClock, keep: tuple[str, str], passphrase: Path, lines: list[Line]
) -> None:
    replica = MemoryEnvironment(MemoryStore(), *keep)
    await replica.run_inputs(may_generate=True)
    store = replica.store
    late = MemoryEnvironment(store, *keep, skip=timedelta(days=366))
    passphrase.rename(passphrase.with_name("elsewhere"))
    with pytest.raises(InvalidBundleError, match="expired"):
        await late.run_inputs(may_generate=True)
    assert [line["event"].partition(" passphrase file")[0] for line in lines][-1] == (
        "the certificate authority cannot be renewed: the issuer has expired, and cannot read the"
    )
    passphrase.with_name("elsewhere").rename(passphrase)
    inputs = await late.run_inputs(may_generate=True)
    assert inputs.bundle.issuer.not_after > END
    assert inputs.bundle.anchors_pem == bundle_of(store.stored).anchors
    assert late.reasons == ["IssuerSwitched"]
