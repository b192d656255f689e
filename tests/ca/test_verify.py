"""Stored bundles, verified step by step."""

import datetime as dt
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from sentry_trio.ca.bundle import StoredBundle, verify, verify_public
from sentry_trio.ca.certificates import Certificate, read_certificates, write_certificates
from sentry_trio.ca.distinguished_names import shown_name
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType, write_private_key
from sentry_trio.errors import InvalidBundleError, NotYetValidError
from testkit.ca.making import (
    ANY_USAGE,
    CLIENT_AUTH,
    DAY,
    HOUR,
    NOW,
    SERVER_AUTH,
    certificate,
    new_key,
    openssl,
    stored,
    unread_certificate,
)

ROOT_KEY, MIDDLE_KEY, KEY, OTHER_KEY = new_key(), new_key(), new_key(), new_key()
ROOT = certificate("root", ROOT_KEY)
ISSUER = certificate("issuer", KEY, "root", ROOT_KEY)
OTHER_ROOT = certificate("root", OTHER_KEY)
GOOD = stored([ROOT], [ISSUER], KEY)


def issuer(**differences: object) -> Certificate:
    return certificate("issuer", KEY, "root", ROOT_KEY, **differences)


def with_root(**differences: object) -> StoredBundle:
    root = certificate("root", ROOT_KEY, **differences)
    return stored([root], [ISSUER], KEY)


def test_a_good_bundle() -> None:
    decorated = msgspec.structs.replace(GOOD, anchors=b"# root\n" + GOOD.anchors, chain=GOOD.chain + b"words")
    bundle = verify(decorated, NOW)
    assert bundle.anchors == (ROOT,)
    assert bundle.chain == (ISSUER,)
    assert bundle.issuer == ISSUER
    assert (bundle.anchors_pem, bundle.chain_pem) == (GOOD.anchors, GOOD.chain)
    assert bundle.key.public_key() == KEY.public_key()
    assert (bundle.not_before, bundle.not_after) == (NOW - HOUR, NOW + 30 * DAY)
    der = [each.der for each in (ROOT, ISSUER)]
    assert bundle.fingerprint == hashlib.sha256(b"".join(der)).hexdigest()


def test_without_the_key() -> None:
    verify_public(GOOD.anchors, GOOD.chain, NOW)
    expired = stored([ROOT], [issuer(not_after=NOW - HOUR, not_before=NOW - DAY)], KEY)
    for bundle in (expired, with_root(ca=False), msgspec.structs.replace(GOOD, chain=b"junk")):
        with pytest.raises(InvalidBundleError) as without:
            verify_public(bundle.anchors, bundle.chain, NOW)
        with pytest.raises(InvalidBundleError) as whole:
            verify(bundle, NOW)
        assert (str(without.value), without.value.parts) == (str(whole.value), whole.value.parts)


def test_the_key_is_not_shown() -> None:
    secret = GOOD.key.splitlines()[1].decode()
    assert secret not in repr(GOOD)
    assert "PRIVATE" not in repr(GOOD)
    assert "key=" not in repr(verify(GOOD, NOW))


def test_self_signed_members_leave_the_chain() -> None:
    bundle = verify(stored([ROOT], [ISSUER, ROOT], KEY), NOW)
    assert bundle.chain == (ISSUER,)
    assert bundle.chain_pem == GOOD.chain


def test_anchors_need_neither_be_valid_nor_used() -> None:
    expired = certificate("old root", OTHER_KEY, not_after=NOW - HOUR / 2)
    bundle = verify(stored([expired, ROOT], [ISSUER], KEY), NOW)
    assert bundle.anchors == (expired, ROOT)
    assert bundle.not_after == NOW + 30 * DAY


def unreadable_issuer() -> StoredBundle:
    oid = x509.BasicConstraints.oid
    bad = unread_certificate(
        "issuer",
        KEY,
        "root",
        ROOT_KEY,
        ca=None,
        more=[x509.Extension(oid, True, x509.UnrecognizedExtension(oid, b"\xff"))],
    )
    return msgspec.structs.replace(GOOD, chain=bad.public_bytes(serialization.Encoding.PEM))


def unsupported_anchor() -> StoredBundle:
    root = openssl("req", "-x509", "-newkey", "ed448", "-noenc", "-keyout", "/dev/null", "-subj", "/CN=root")
    return msgspec.structs.replace(GOOD, anchors=root)


def weak_anchor(digest: str) -> Callable[[], StoredBundle]:
    def make() -> StoredBundle:
        options = ("-newkey", "rsa:1024", f"-{digest}", "-noenc", "-keyout", "/dev/null", "-subj", "/CN=root")
        return msgspec.structs.replace(GOOD, anchors=openssl("req", "-x509", *options))

    return make


UNKNOWN = "issuer chain does not belong to trust anchors: x509: certificate signed by unknown authority"
EXPIRED = (
    "issuer chain does not belong to trust anchors: x509: certificate has expired or is not yet valid: current time "
    "2026-11-22T19:41:15Z is after 2026-11-22T18:41:15Z"
)
EARLY = (
    "issuer chain does not belong to trust anchors: x509: certificate has expired or is not yet valid: current time "
    "2026-11-22T19:41:15Z is before 2026-11-22T20:41:15Z"
)
USAGE = "issuer chain does not belong to trust anchors: x509: certificate specifies an incompatible key usage"
LENGTH = "issuer chain does not belong to trust anchors: x509: too many intermediates for path length constraint"
UNHANDLED = "issuer chain does not belong to trust anchors: x509: unhandled critical extension 1.2.3"
NOT_SELF_SIGNED = "certificate in trust anchor is not self-signed: "
NO_SIGNER = "intermediate certificate is not valid for signing"
LONG_AGO = NOW - 10 * DAY
ODD = x509.Extension(
    x509.ObjectIdentifier("1.2.3"), True, x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"")
)


def changed(**parts: bytes) -> Callable[[], StoredBundle]:
    return lambda: msgspec.structs.replace(GOOD, **parts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        # 1: the anchors are certificates
        (changed(anchors=b""), "failed to decode trust anchors: no certificates found"),
        (
            changed(anchors=b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
            "failed to decode trust anchors: certificate 1 of the trust anchors cannot be read here or by ",
        ),
        (
            changed(anchors=GOOD.anchors + GOOD.key),
            'failed to decode trust anchors: PEM block 2 of the trust anchors is of type "PRIVATE KEY"; remove it',
        ),
        # 2: each has signed itself, and may
        (lambda: stored([ROOT, ISSUER], [ISSUER], KEY), f"{NOT_SELF_SIGNED}the signature does not fit"),
        (lambda: with_root(ca=False), f"{NOT_SELF_SIGNED}the signer may not sign certificates: its basicConstraints"),
        (lambda: with_root(ca=None), f"{NOT_SELF_SIGNED}the signer may not sign certificates: it has no basicCons"),
        (lambda: with_root(usage=["crl_sign"]), f"{NOT_SELF_SIGNED}the signer may not sign certificates: its keyUsage"),
        (weak_anchor("sha1"), f"{NOT_SELF_SIGNED}signatures over SHA-1 are insecure"),
        (weak_anchor("md5"), f"{NOT_SELF_SIGNED}signature algorithm 1.2.840.113549.1.1.4 does not fit"),
        (unsupported_anchor, f"{NOT_SELF_SIGNED}Go does not verify with the signer's kind of key"),
        # 4: the chain is certificates, each signed by the next
        (changed(chain=b"words"), "no certificates found"),
        (changed(chain=GOOD.key), 'PEM block 1 of the issuer chain is of type "PRIVATE KEY"; remove it'),
        (
            unreadable_issuer,
            "certificate 1 of the issuer chain cannot be read here or by Dapr's components: basicConstr",
        ),
        (
            lambda: stored([ROOT], [ISSUER, OTHER_ROOT], KEY),
            "certificate chain is not valid: certificate 1 is not signed by the one after it: the signature does not",
        ),
        (
            lambda: stored([ROOT], [ISSUER, ROOT, ISSUER], KEY),
            "certificate chain is not valid: certificate 2 is not signed by the one after it: ",
        ),
        # 6: the signing certificate may sign
        (lambda: stored([ROOT], [issuer(ca=False)], KEY), NO_SIGNER),
        (lambda: stored([ROOT], [issuer(ca=None)], KEY), NO_SIGNER),
        (lambda: stored([ROOT], [issuer(usage=["digital_signature"])], KEY), NO_SIGNER),
        # 7: it is not self-signed
        (lambda: stored([ROOT], [ROOT], ROOT_KEY), "issuer chain is empty after re-encoding"),
        (lambda: stored([ROOT], [ROOT, ROOT], ROOT_KEY), "issuer chain is empty after re-encoding"),
        (
            lambda: stored([ROOT], [ROOT, certificate("x", ROOT_KEY, "y", ROOT_KEY), ISSUER], ROOT_KEY),
            "certificate chain is not valid: certificate 2 is not signed",
        ),
        # 8: the key is one
        (changed(key=b""), "key is not PEM encoded"),
        (changed(key=GOOD.chain), "unsupported block type CERTIFICATE"),
        # 9: it is the signing certificate's
        (changed(key=write_private_key(OTHER_KEY)), "issuer key does not match issuer certificate"),
        # 10: there is a valid path
        (lambda: stored([certificate("x", OTHER_KEY)], [ISSUER], KEY), f"{UNKNOWN}$"),
        (
            lambda: stored([OTHER_ROOT], [ISSUER], KEY),
            f'{UNKNOWN} (possibly because of "the signature does not fit the signer\'s key" while trying to verify ',
        ),
        (lambda: stored([ROOT], [issuer(not_before=LONG_AGO, not_after=NOW - HOUR)], KEY), f"{EXPIRED}$"),
        (lambda: stored([ROOT], [issuer(not_before=NOW + HOUR)], KEY), f"{EARLY}$"),
        (lambda: with_root(not_before=LONG_AGO, not_after=NOW - HOUR), f"{EXPIRED}$"),
        (lambda: with_root(not_before=NOW + HOUR), f"{EARLY}$"),
        (lambda: stored([ROOT], [issuer(extended=[CLIENT_AUTH])], KEY), f"{USAGE}$"),
        (lambda: with_root(extended=[CLIENT_AUTH]), f"{USAGE}$"),
        (lambda: with_root(path_length=0), f"{LENGTH}$"),
        (lambda: stored([ROOT], [issuer(more=[ODD])], KEY), f"{UNHANDLED}$"),
        (lambda: with_root(more=[ODD]), f"{UNHANDLED}$"),
    ],
)
def test_the_first_fault_is_named(make: Callable[[], StoredBundle], message: str) -> None:
    with pytest.raises(InvalidBundleError) as refused:
        verify(make(), NOW)
    text = str(refused.value)
    if message.endswith("$"):
        assert text == f"failed to verify CA bundle: {message[:-1]}"
    else:
        assert text.startswith(f"failed to verify CA bundle: {message}")
    assert "\n" not in text
    assert refused.value.__cause__


def test_a_signing_certificate_that_has_signed_itself_is_refused() -> None:
    itself = certificate("issuer", KEY)
    above = certificate("above", KEY, "root", ROOT_KEY)
    with pytest.raises(InvalidBundleError, match="the signing certificate, first in the issuer chain, is self-signed"):
        verify(stored([ROOT], [itself, above], KEY), NOW)


@pytest.mark.parametrize(
    "bundle",
    [
        with_root(path_length=1),
        with_root(extended=[SERVER_AUTH]),
        with_root(extended=[CLIENT_AUTH, ANY_USAGE]),
        with_root(usage=None),
        stored([ROOT], [issuer(path_length=0)], KEY),
        stored([ROOT], [issuer(usage=None)], KEY),
        stored([ROOT], [issuer(extended=[CLIENT_AUTH, SERVER_AUTH])], KEY),
        stored([ROOT], [issuer(not_after=NOW)], KEY),
        stored([ROOT], [issuer(not_before=NOW)], KEY),
        stored([ROOT], [issuer(more=[x509.Extension(ODD.oid, False, ODD.value)])], KEY),
    ],
)
def test_conditions_that_are_not_faults(bundle: StoredBundle) -> None:
    assert len(verify(bundle, NOW).chain) == 1


def test_dates_are_compared_to_the_second_and_beyond() -> None:
    bundle = stored([ROOT], [issuer(not_after=NOW)], KEY)
    with pytest.raises(InvalidBundleError, match="current time 2026-11-22T19:41:15Z is after 2026-11-22T19:41:15Z"):
        verify(bundle, NOW + dt.timedelta(microseconds=1))


def test_times_are_shown_in_utc() -> None:
    bundle = stored([ROOT], [issuer(not_before=LONG_AGO, not_after=NOW - HOUR)], KEY)
    with pytest.raises(InvalidBundleError, match=re.escape(EXPIRED)):
        verify(bundle, NOW.astimezone(dt.timezone(dt.timedelta(hours=5))))


def version_1(directory: Path, name: str, *signer: str | Path) -> bytes:
    """A certificate of version 1, which only the openssl tool makes; valid for a day from the time of the test."""
    key = directory / f"{name}.key"
    openssl("genpkey", "-quiet", "-algorithm", "ED25519", "-out", key)
    request = openssl("req", "-new", "-key", key, "-subj", f"/CN={name}")
    return openssl("x509", "-req", "-days", "1", *(signer or ("-signkey", key)), stdin=request)


def test_version_1_makes_an_anchor_but_no_issuer(tmp_path: Path) -> None:
    root_pem = version_1(tmp_path, "old")
    (tmp_path / "old.pem").write_bytes(root_pem)
    (root,) = read_certificates(root_pem)
    assert root.version == 1
    now = root.not_before
    root_key = serialization.load_pem_private_key((tmp_path / "old.key").read_bytes(), None)
    below = certificate("issuer", KEY, "old", root_key, not_before=now, not_after=now + HOUR)
    assert verify(stored([root], [below], KEY), now).issuer == below

    signer = ("-CA", tmp_path / "old.pem", "-CAkey", tmp_path / "old.key", "-CAcreateserial")
    chain = version_1(tmp_path, "below", *signer)
    bundle = StoredBundle(root_pem, chain, (tmp_path / "below.key").read_bytes())
    with pytest.raises(InvalidBundleError, match=r"not valid for signing: it is of X\.509 version 1"):
        verify(bundle, now)

    (middle,) = read_certificates(chain)
    # The tool may have made it a second later than the root.
    now = middle.not_before
    middle_key = serialization.load_pem_private_key(bundle.key, None)
    below = certificate("issuer", KEY, "below", middle_key, not_before=now, not_after=now + HOUR)
    with pytest.raises(InvalidBundleError, match="x509: certificate is not authorized to sign other certificates"):
        verify(msgspec.structs.replace(stored([root], [below, middle], KEY)), now)


def test_a_name_longer_than_the_standard_allows_is_kept() -> None:
    """X.520 allows a common name 64 characters, and a SPIFFE ID there is soon longer: neither refusal nor warning."""
    long = "spiffe://cluster.local/ns/dapr-system/" + "x" * 60
    with pytest.warns(UserWarning, match="Attribute's length"):
        made = x509.NameAttribute(x509.NameOID.COMMON_NAME, long, _validate=False)
    chain = [certificate(x509.Name([made]), KEY, "root", ROOT_KEY)]
    bundle = verify(stored([ROOT], chain, KEY), NOW)
    assert shown_name(bundle.issuer.subject_name) == f"CN={long}"


def test_written_certificates_are_the_bundle() -> None:
    middle = certificate("middle", MIDDLE_KEY, "root", ROOT_KEY)
    below = certificate("issuer", KEY, "middle", MIDDLE_KEY)
    bundle = verify(stored([ROOT], [below, middle], KEY), NOW)
    assert bundle.chain_pem == write_certificates([below, middle])
    again = verify(StoredBundle(bundle.anchors_pem, bundle.chain_pem, write_private_key(bundle.key)), NOW)
    assert again.fingerprint == bundle.fingerprint


def test_a_certificate_that_is_not_valid_yet_is_an_error_with_its_start() -> None:
    stored = generate("td", "ns", KeyType.P256, now=NOW, allowed_clock_skew=dt.timedelta())
    with pytest.raises(InvalidBundleError) as caught:
        verify(stored, NOW - DAY)
    cause: BaseException | None = caught.value
    while cause is not None and not isinstance(cause, NotYetValidError):
        cause = cause.__cause__
    assert cause is not None
    assert cause.valid_from == NOW
