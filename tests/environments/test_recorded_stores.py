"""Stores that released Dapr Sentries have made, taken over and renewed through all phases; see recorded/README.md."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest
from trio.testing import MockClock

from sentry_trio.ca.bundle import TrustBundle, verify
from sentry_trio.ca.certificates import Certificate, read_certificates
from sentry_trio.ca.issue import Issuer, WorkloadIdentity
from sentry_trio.ca.keys import public_key_info
from sentry_trio.ca.parts import BUNDLE, Parts, bundle_of
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import Part
from testkit.ca.making import DAY, SKEW, new_key
from testkit.go_x509 import GoX509
from testkit.kube.fakes import CONFIG_MAP, SECRET, installed
from testkit.renewal import BEGINNINGS, START, MemoryEnvironment, MemoryStore, in_phase, later, serving, until
from testkit.secret_renewal import SecretEnvironment, SecretShelf
from testkit.stores import NAMES

RECORDED: Final = Path(__file__).parent / "recorded"
VERSIONS: Final = sorted(path.name for path in RECORDED.iterdir() if path.is_dir())
_IDENTITY: Final = WorkloadIdentity(SpiffeId.make("cluster.local", "default", "app"), ("app.default.svc",))
_LEAF_KEY: Final = public_key_info(new_key().public_key())

each_version = pytest.mark.parametrize("version", VERSIONS)


def recorded(version: str) -> Parts:
    return {part: (RECORDED / version / NAMES[part]).read_bytes() for part in BUNDLE}


def taken_over(stored: Parts, *, from_secret: bool = False) -> MemoryEnvironment:
    """A replica that finds a store when it was made."""
    (issuer,) = read_certificates(stored[Part.CHAIN])
    flags, skip = ("--trust-domain=cluster.local", "--ca-key-type=p256"), issuer.not_before + SKEW - START
    if not from_secret:
        return MemoryEnvironment(MemoryStore(stored), *flags, skip=skip)
    api = installed()
    api.edit(SECRET, data={NAMES[part]: b64encode(content).decode() for part, content in stored.items()})
    api.edit(CONFIG_MAP, data={NAMES[Part.ANCHORS]: stored[Part.ANCHORS].decode()})
    return SecretEnvironment(api, SecretShelf(api), *flags, skip=skip)


def signed(bundle: TrustBundle, now: datetime) -> bytes:
    return Issuer(bundle).issue(_LEAF_KEY, _IDENTITY, lifetime=DAY, allowed_clock_skew=SKEW, now=now).der


@each_version
@pytest.mark.parametrize("from_secret", [False, True], ids=["files", "secret"])
async def test_it_is_renewed_without_a_restart_of_any_client(
    autojump_clock: MockClock, go: GoX509, version: str, *, from_secret: bool
) -> None:
    """Go verifies what is signed in each phase with the anchors of each phase up to then, and with the newest alone."""
    replica = taken_over(recorded(version), from_secret=from_secret)
    held: list[Sequence[Certificate]] = []
    async with serving(replica):
        for wanted in BEGINNINGS:
            await in_phase(replica, wanted)
            bundle, now = replica.runs[-1], replica.now()
            held.append(bundle.anchors)
            leaf, chain = signed(bundle, now), [each.der for each in bundle.chain]
            sets = held if wanted == "distributing" else [*held, bundle.anchors[:1]]
            assert [go.verify(leaf, chain, [each.der for each in anchors], now) for anchors in sets] == [""] * len(sets)
    assert replica.reasons == ["RenewalBegun", "IssuerSwitched", "OldKeyErased"]
    assert replica.failures == []


@each_version
async def test_its_last_certificate_outlives_the_switch(autojump_clock: MockClock, go: GoX509, version: str) -> None:
    stored = recorded(version)
    replica = taken_over(stored)
    former = verify(bundle_of(stored), replica.now())
    async with serving(replica):
        await in_phase(replica, "distributing")
        await until(replica, BEGINNINGS["signing"])
        leaf = signed(former, replica.now())
        await in_phase(replica, "signing")
        await later(replica, 23 * 3600)
        anchors = [each.der for each in replica.runs[-1].anchors]
        assert go.verify(leaf, [former.issuer.der], anchors, replica.now()) == ""
