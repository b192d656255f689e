"""What store and ConfigMap hold, be it good or not."""

from datetime import timedelta

import pytest

from sentry_trio.ca.certificates import fingerprint, write_certificates
from sentry_trio.ca.verify import verify
from sentry_trio.status.report import read_published, read_stored
from sentry_trio.stores.public import PublicParts
from testkit.ca.making import DAY, NOW, certificate, new_key, stored

ROOT_KEY, KEY, OTHER_KEY = new_key(), new_key(), new_key()
ROOT = certificate("root", ROOT_KEY)
ISSUER = certificate("issuer", KEY, "root", ROOT_KEY)
GOOD = stored([ROOT], [ISSUER, ROOT], KEY)
PARTS = PublicParts(GOOD.anchors, GOOD.chain)


def test_a_good_one() -> None:
    found = read_stored(PARTS, "here", NOW)
    assert (found.place, found.problem) == ("here", None)
    # As the authority that uses it names it: without the self-signed certificate in the chain.
    assert found.fingerprint == verify(GOOD, NOW).fingerprint
    assert [link.role for link in found.certificates] == ["anchor", "issuer"]


def test_one_that_has_expired_is_shown() -> None:
    found = read_stored(PARTS, "here", NOW + timedelta(days=400))
    assert "certificate has expired" in (found.problem or "")
    assert found.fingerprint == verify(GOOD, NOW).fingerprint
    assert len(found.certificates) == 2


def test_one_that_does_not_go_together_is_shown() -> None:
    stranger = certificate("root", OTHER_KEY)
    found = read_stored(PublicParts(write_certificates([stranger]), GOOD.chain), "here", NOW + DAY)
    assert "issuer chain does not belong to trust anchors" in (found.problem or "")
    assert [link.signed_by for link in found.certificates] == [None, None]


@pytest.mark.parametrize(
    "parts",
    [PublicParts(b"junk", GOOD.chain), PublicParts(GOOD.anchors, GOOD.key), PublicParts(GOOD.anchors, b"\xff" * 9)],
)
def test_one_that_cannot_be_read(parts: PublicParts) -> None:
    found = read_stored(parts, "here", NOW)
    assert (found.fingerprint, found.certificates) == (None, ())
    assert found.problem
    assert GOOD.key.splitlines()[1].decode() not in repr(found)


def test_published_anchors() -> None:
    found = read_published(GOOD.anchors.decode(), "there")
    assert (found.anchors, found.problem) == ((fingerprint(ROOT),), None)


@pytest.mark.parametrize(
    ("anchors", "problem"),
    [
        (None, "it has no trust anchors"),
        ("", "it has no trust anchors"),
        ("\ud800", "no certificates found: it is not PEM text"),
    ],
)
def test_no_published_anchors(anchors: str | None, problem: str) -> None:
    found = read_published(anchors, "there")
    assert (found.anchors, found.problem) == ((), problem)
