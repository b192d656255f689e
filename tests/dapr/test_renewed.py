"""Trust bundles that a renewal made, in both programs."""

from pathlib import Path
from typing import Final

import pytest

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.generate import generate
from sentry_trio.ca.generation import next_bundle
from sentry_trio.ca.keys import KeyType
from testkit.authorities import SKEW, wall_clock
from testkit.ca.making import DAY

from .asking import clients, reply_fields
from .comparing import compare
from .inputs import NAMESPACE, TRUST_DOMAIN, credentials, request
from .servers import Setting, pair

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
            trust_domain=TRUST_DOMAIN,
            namespace=NAMESPACE,
            key_type=key_type,
            now=begin + number * (LIFE / 2 - DAY),
            allowed_clock_skew=SKEW,
            lifetime=LIFE,
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
    *_, before, present = renewed(key_type, 2 if phase == "signing again" else 1)
    files = credentials(present)
    if phase == "distributing":
        files = credentials(before) | {"ca.crt": present.anchors}
        files |= {"issuer.next.crt": present.chain, "issuer.next.key": present.key}
    elif phase.startswith("signing"):
        files |= {"previous-ca.crt": present.anchors, "previous-issuer.crt": before.chain}
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
            assert reply["trust anchors"] == repr([present.anchors])
            assert {name: (server.credentials / name).read_bytes() for name in files} == files
