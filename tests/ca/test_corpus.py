"""Certificates and requests of other tools, read by Go's crypto/x509 and by us: the same verdict and the same fields.

`testkit/ca/foreign` documents how the files came to be.
"""

import pytest

from testkit.ca.foreign import corpus
from testkit.go_x509 import GoX509

from .test_go import fields_or_error, key_or_error

CERTIFICATES = corpus("CERTIFICATE")
REQUESTS = corpus("CERTIFICATE REQUEST")
# Accepted here and refused by Go, because nothing but the public key and its signature is read from a request.
LENIENT = {
    "node-forge: request underscore": "the string types of the subject are not looked at",
    "node-forge: request san uri with a space": "requested extensions are not looked at",
    "openssl: request san with a bad uri": "requested extensions are not looked at",
    "pkijs: request without attributes": "attributes are not looked at, not even their absence",
    "pkijs: request extensions that are no sequence": "attributes are not looked at",
    "pkijs: request underscore": "the string types of the subject are not looked at",
    "pkijs: request name that is no set": "the subject is not looked at",
}
# Go reads DSA keys and verifies nothing with them; here a key is one that verifies.
READ_ONLY_BY_GO = {"keytool: dsa", "openssl: key dsa"}


def test_the_corpus_is_large() -> None:
    assert len(CERTIFICATES) + len(REQUESTS) > 400
    assert {name.partition(":")[0] for name in CERTIFICATES} == {
        *("go", "keytool", "node-forge", "openssl", "pkijs", "step")
    }


@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificates(go: GoX509, name: str) -> None:
    theirs = go.certificate(CERTIFICATES[name])
    # Go writes URIs anew, so only their acceptance is compared.
    theirs.pop("uris", None)
    ours = fields_or_error(CERTIFICATES[name])
    assert ("error" in ours) == ("error" in theirs), (ours, theirs)
    if name in READ_ONLY_BY_GO:
        assert theirs.pop("has_key")
    if "error" not in ours:
        assert ours == theirs


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(go: GoX509, name: str) -> None:
    theirs, ours = go.request(REQUESTS[name]), key_or_error(REQUESTS[name])
    if name in LENIENT:
        assert "error" in theirs
        assert "error" not in ours
    else:
        assert ("error" in ours) == ("error" in theirs), (ours, theirs)
        assert "error" in ours or ours == theirs


def test_both_verdicts_are_frequent(go: GoX509) -> None:
    """Each half of the comparison compares something."""
    refused = [name for name, der in CERTIFICATES.items() if "error" in go.certificate(der)]
    assert 50 < len(refused) < len(CERTIFICATES) - 100
    refused = [name for name, der in REQUESTS.items() if "error" in go.request(der)]
    assert 20 < len(refused) < len(REQUESTS) - 30


def test_errors_are_of_one_line() -> None:
    errors = [found["error"] for der in CERTIFICATES.values() if "error" in (found := fields_or_error(der))]
    assert {len(each.splitlines()) for each in errors} == {1}


def test_lengths_of_explicit_tags(go: GoX509) -> None:
    """Go passes over the length of PSS's explicit tags, which no tool writes wrong; here it must be right."""
    good = REQUESTS["openssl: request signature pss sha384 salt 48"]
    bad = good.replace(bytes.fromhex("0500a11c301a"), bytes.fromhex("0500a14a301a"))
    assert bad != good
    assert "error" not in go.request(good)
    assert "error" not in go.request(bad)
    assert key_or_error(bad) == {"error": "invalid signature"}
