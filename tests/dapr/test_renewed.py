"""Trust bundles that a renewal made, in both programs."""

from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.generate import generate
from sentry_trio.ca.generation import next_bundle
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.parts import merged
from sentry_trio.ca.renewal import Situation, plan
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_root import new_parts
from sentry_trio.errors import Part
from sentry_trio.stores.part_store import RENEWAL_NAMES
from testkit.authorities import SKEW, wall_clock
from testkit.ca.making import DAY

from .asking import Client, clients, reply_fields
from .comparing import compare
from .inputs import NAMESPACE, TRUST_DOMAIN, credentials, request
from .servers import Setting, both, pair, started

FLAGS: Final = ("--enable-metrics=false",)
NOW: Final = wall_clock()
LIFE: Final = 20 * DAY


def renewed(key_type: KeyType, renewals: int) -> list[StoredBundle]:
    """An authority and its next generations, each made in the middle of the life of the one before."""
    begin = NOW - renewals * LIFE / 2
    first = generate(TRUST_DOMAIN, NAMESPACE, key_type, now=begin, allowed_clock_skew=SKEW, lifetime=LIFE)
    bundles: list[StoredBundle] = [first]
    for number in range(1, renewals + 1):
        following = next_bundle(
            bundles[-1],
            generate(
                TRUST_DOMAIN,
                NAMESPACE,
                key_type,
                now=begin + number * (LIFE / 2 - DAY),
                allowed_clock_skew=SKEW,
                lifetime=LIFE,
            ),
            now=begin + number * (LIFE / 2 - DAY),
            allowed_clock_skew=SKEW,
            former_roots=(),
            anchors_kept=2,
        )
        bundles.append(following)
    return bundles


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.ED25519])
@pytest.mark.parametrize("phase", ["distributing", "signing", "retiring", "signing again"])
def test_dapr_sentry_takes_over_and_leaves_all_as_it_is(
    dapr_sentry: Path, tmp_path: Path, phase: str, key_type: KeyType
) -> None:
    """It signs with the issuer of the phase, answers with the whole chain, and writes no file."""
    *_, before, current = renewed(key_type, 2 if phase == "signing again" else 1)
    files = credentials(current)
    if phase == "distributing":
        files = credentials(before) | {"ca.crt": current.anchors}
        files |= {"issuer.next.crt": current.chain, "issuer.next.key": current.key}
    elif phase.startswith("signing"):
        files |= {"previous-ca.crt": current.anchors, "previous-issuer.crt": before.chain}
        files |= {"previous-issuer.key": before.key}
    with pair(dapr_sentry, Setting(files=files, flags=FLAGS), tmp_path) as servers:
        assert all(server.serving for server in servers)
        with clients(servers) as (dapr, ours):
            replies = [reply_fields(each.ask(request()), SKEW) for each in (dapr, ours)]
        compare(*replies)
        for server, reply in zip(servers, replies, strict=True):
            chain = files["issuer.crt"].decode()
            assert reply["issuer chain"] == chain
            assert chain.count("BEGIN") == {"distributing": 1, "signing again": 5}.get(phase, 3)
            assert reply["trust anchors"] == repr([current.anchors])
            assert {name: (server.credentials / name).read_bytes() for name in files} == files


KEEP: Final = RenewalPolicy(
    trust_domain=TRUST_DOMAIN,
    namespace=NAMESPACE,
    key_type=KeyType.P256,
    workload_ttl=DAY,
    allowed_clock_skew=SKEW,
    lifetime=LIFE,
    grace=timedelta(),
    keeps_root_key=True,
    root_lifetime=3 * LIFE,
)
PASSPHRASE: Final = b"correct horse"


def kept(phase: str) -> dict[Part, bytes]:
    """The stored parts of an authority whose root key is kept, in the middle of the life of its issuer."""
    policy = replace(KEEP, root_lifetime=LIFE) if phase.startswith("another root") else KEEP
    stored = new_parts(policy, NOW - LIFE / 2 - DAY, PASSPHRASE)
    steps = {"steady": 0, "signing": 1, "another root, distributing": 1, "another root, signing": 3}[phase]
    for _ in range(steps):
        stored = merged(stored, plan(stored, policy, Situation(now=NOW, passphrase=PASSPHRASE)).changes)
    return stored


@pytest.mark.parametrize(
    ("phase", "chain", "keys"),
    [
        ("steady", 1, {"root.key"}),
        ("signing", 1, {"root.key"}),
        ("another root, distributing", 1, {"root.key", "root.next.key"}),
        ("another root, signing", 2, {"root.key", "previous-root.key"}),
    ],
)
def test_dapr_sentry_takes_over_from_an_authority_whose_root_key_is_kept(
    dapr_sentry: Path, tmp_path: Path, phase: str, chain: int, keys: set[str]
) -> None:
    """It ignores the root key, in the files and in its answers."""
    stored = kept(phase)
    names = {Part.ANCHORS: "ca.crt", Part.CHAIN: "issuer.crt", Part.KEY: "issuer.key", **RENEWAL_NAMES}
    names[Part.RECORD] = f".{names[Part.RECORD]}"
    files = {names[part]: content for part, content in stored.items()}
    assert {name for name in files if "root" in name} == keys
    dapr, _ = both(dapr_sentry)
    with started(dapr, Setting(files=files, flags=FLAGS), tmp_path) as server, Client(server) as client:
        reply = reply_fields(client.ask(request()), SKEW)
        assert reply["issuer chain"] == files["issuer.crt"].decode()
        assert reply["issuer chain"].count("BEGIN") == chain
        assert reply["trust anchors"] == repr([stored[Part.ANCHORS]])
        left = {path.name: path.read_bytes() for path in server.credentials.iterdir()}
    assert left == files
