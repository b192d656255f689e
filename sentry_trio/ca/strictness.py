"""Properties of a trust bundle that strict verifiers reject, or that do not fit the lifetimes in use. Pure.

Dapr's components accept all of them. Others are stricter: OpenSSL with X509_STRICT, which Python 3.13 sets by default,
BoringSSL, and rustls.
"""

import datetime as dt
import enum
from collections.abc import Iterator
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from sentry_trio.ca.bundle import StoredBundle, TrustBundle
from sentry_trio.ca.certificates import Certificate, has_signed, shown
from sentry_trio.ca.distinguished_names import shown_name
from sentry_trio.ca.extensions import ANY_EXTENDED_KEY_USAGE, CLIENT_AUTH, SERVER_AUTH
from sentry_trio.ca.pem import tidy
from sentry_trio.ca.trust import Trust
from sentry_trio.go_text import format_duration

_LEAST_RSA_BITS: Final = 2048


class Severity(enum.StrEnum):
    """Consequence of a finding."""

    ERROR = "error"
    WARNING = "warning"


class Finding(msgspec.Struct, frozen=True):
    """Finding about a trust bundle.

    Attributes:
        code: its kind, for metrics and programs.
        severity: an error if the bundle is not used because of it.
        text: one line for people.
        about: fingerprints of the issuer or trust anchors that clients have; empty if it concerns the bundle only.
    """

    code: str
    severity: Severity
    text: str
    about: str = ""


def warnings_about(candidate: StoredBundle, bundle: TrustBundle, trust: Trust, now: dt.datetime) -> Iterator[Finding]:
    """Yields findings about a trust bundle that verifies: warnings, except for keys that are too short.

    Args:
        candidate: the bundle as stored.
        bundle: the candidate, verified.
        trust: trust in use.
        now: an aware datetime.
    """
    yield from _keys(bundle)
    yield from _subjects(bundle)
    yield from _identifiers(bundle)
    yield from _constraints(bundle)
    yield from _lifetimes(bundle, trust, now)
    yield from _texts(candidate)


def _warning(code: str, text: str) -> Finding:
    return Finding(code, Severity.WARNING, text)


def _keys(bundle: TrustBundle) -> Iterator[Finding]:
    for each in _certificates(bundle):
        if isinstance(each.public_key, rsa.RSAPublicKey) and each.public_key.key_size < _LEAST_RSA_BITS:
            # OpenSSL refuses to serve a chain with such a key.
            severity = Severity.ERROR if each in bundle.chain else Severity.WARNING
            text = f"the RSA key of {_named(each)} has {each.public_key.key_size} bits, but TLS libraries require more"
            yield Finding("weak-key", severity, f"{text}: use {_LEAST_RSA_BITS} or an elliptic curve")


def _subjects(bundle: TrustBundle) -> Iterator[Finding]:
    keys: dict[bytes, set[bytes]] = {}
    names = {}
    for each in _certificates(bundle):
        keys.setdefault(each.subject, set()).add(each.public_key_info)
        names[each.subject] = shown_name(each.subject_name)
    for subject, different in keys.items():
        if len(different) > 1:
            yield _warning(
                "same-subject",
                f"{len(different)} certificates with different keys have the subject {names[subject]}: OpenSSL may try "
                "only the first of them",
            )


def _identifiers(bundle: TrustBundle) -> Iterator[Finding]:
    certificates = _certificates(bundle)
    for each in certificates:
        if each.serial_number == 0:
            yield _warning("serial-zero", f"the serial number of {_named(each)} is 0, which RFC 5280 forbids")
        if each.extensions.subject_key_identifier is None:
            yield _warning("no-ski", f"{_named(each)} has no subject key identifier: strict verifiers reject it")
    for each in bundle.chain:
        found = each.extensions.authority_key_identifier
        above = {one.extensions.subject_key_identifier for one in certificates if has_signed(one, each)} - {None}
        if found is None:
            yield _warning("no-aki", f"{_named(each)} has no authority key identifier: strict verifiers reject it")
        elif above and found not in above:
            text = f"the authority key identifier of {_named(each)} is not that of its signer: OpenSSL finds no path"
            yield _warning("no-aki", text)


def _constraints(bundle: TrustBundle) -> Iterator[Finding]:
    for each in _certificates(bundle):
        usages = set(each.extensions.extended_key_usage or (ANY_EXTENDED_KEY_USAGE,))
        if ANY_EXTENDED_KEY_USAGE not in usages and not {SERVER_AUTH, CLIENT_AUTH} <= usages:
            text = f"the extended key usage of {_named(each)} lacks serverAuth or clientAuth: mTLS needs both"
            yield _warning("eku", text)
        if each.extensions.name_constraints is not None:
            text = f"{_named(each)} has name constraints: some verifiers do not support those of URIs"
            yield _warning("name-constraints", text)


def _lifetimes(bundle: TrustBundle, trust: Trust, now: dt.datetime) -> Iterator[Finding]:
    end = f"{bundle.not_after:%Y-%m-%dT%H:%M:%SZ}"
    if bundle.not_after < now + trust.leaf_lifetime + trust.grace:
        yield _warning(
            "short-life",
            f"the path of the issuer to its trust anchor ends at {end}, too early for a renewal: certificates may be "
            f"valid for {format_duration(trust.leaf_lifetime)}, and new trust anchors are published for "
            f"{format_duration(trust.grace)} before their issuer signs",
        )
    if bundle.issuer.not_after > bundle.not_after:
        text = f"{_named(bundle.issuer)} outlives the path to its trust anchor, which ends at {end}"
        yield _warning("outlives-parent", text)


def _texts(candidate: StoredBundle) -> Iterator[Finding]:
    for what, text in (("trust anchors", candidate.anchors), ("issuer chain", candidate.chain)):
        if tidy(text) != text:
            advice = f"Dapr Sentry would overlook certificates of the {what}: begin and end each on a line of its own"
            yield _warning("dapr-differs", advice)
    if b"-----BEGIN EC PARAMETERS-----" in candidate.key:
        yield _warning("dapr-differs", "Dapr Sentry does not read a key behind EC PARAMETERS: remove that block")


def _certificates(bundle: TrustBundle) -> list[Certificate]:
    """Returns the anchors and the chain, each certificate once."""
    return list(dict.fromkeys((*bundle.anchors, *bundle.chain)))


def _named(certificate: Certificate) -> str:
    return f'certificate "{shown(certificate)}"'
