"""Certificates and requests, read by Go's crypto/x509 and by us: the same verdict and the same fields.

The seed is fixed, so a run is the same each time.
"""

import base64
import random
from typing import Any

import pytest

from sentry_trio.ca.asn1 import MalformedError
from sentry_trio.ca.certificates import Certificate, is_self_signed, read_certificate
from sentry_trio.ca.csr import read_csr
from sentry_trio.ca.pem import write_block
from sentry_trio.errors import InvalidCSRError
from testkit.ca.mutants import certificates, mutants, requests, signed_again
from testkit.go_x509 import GoX509

CERTIFICATES = 4_000
REQUESTS = 400
# Errors of a key or signature that Go finds later, when it verifies; keys with unused bits it shifts to the right.
FOUND_LATER = ("signatureValue has unused bits", "the public key is not valid: ", "the public key has unused bits")


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def fields(certificate: Certificate) -> dict[str, Any]:
    """Returns the fields under the names of the program's answers, which leaves out what is empty or false."""
    extensions = certificate.extensions
    constraints, names, domains = (
        extensions.basic_constraints,
        extensions.alternative_names,
        extensions.name_constraints,
    )
    # Go has a path length of -1 for none, and zero without the extension.
    path_length = 0 if constraints is None else -1 if constraints.path_length is None else constraints.path_length
    found: dict[str, Any] = {
        "version": certificate.version,
        "serial": str(certificate.serial_number),
        "issuer": _text(certificate.issuer),
        "subject": _text(certificate.subject),
        "not_before": certificate.not_before.isoformat().replace("+00:00", "Z"),
        "not_after": certificate.not_after.isoformat().replace("+00:00", "Z"),
        "public_key_info": _text(certificate.public_key_info),
        "has_key": certificate.public_key is not None,
        "has_constraints": constraints is not None,
        "is_ca": constraints is not None and constraints.is_ca,
        "path_length": path_length,
        "key_usage": sum(1 << bit for bit in extensions.key_usage or ()),
        "subject_key_id": _text(extensions.subject_key_identifier or b""),
        "authority_key_id": _text(extensions.authority_key_identifier or b""),
        "dns_names": list(names.dns_names) if names else [],
        "permitted_dns": list(domains.permitted_dns) if domains else [],
        "excluded_dns": list(domains.excluded_dns) if domains else [],
        "permitted_uris": list(domains.permitted_uris) if domains else [],
        "excluded_uris": list(domains.excluded_uris) if domains else [],
        "unhandled": list(extensions.unhandled_critical),
        "self_signed": is_self_signed(certificate),
    }
    return {name: value for name, value in found.items() if value}


def fields_or_error(der: bytes) -> dict[str, Any]:
    try:
        return fields(read_certificate(der))
    except MalformedError as error:
        return {"error": str(error)}


def key_or_error(der: bytes) -> dict[str, Any]:
    try:
        return {"public_key_info": _text(read_csr(write_block("CERTIFICATE REQUEST", der)))}
    except InvalidCSRError as error:
        return {"error": str(error)}


def test_certificates(go: GoX509) -> None:
    accepted = 0
    for der in mutants(certificates(), random.Random(1), CERTIFICATES):
        theirs = go.certificate(der)
        # Go writes URIs anew, so only their acceptance is compared.
        theirs.pop("uris", None)
        ours = fields_or_error(der)
        if ours.get("error", "").startswith(FOUND_LATER):
            continue
        assert ("error" in ours) == ("error" in theirs), (ours, theirs, der.hex())
        if "error" not in ours:
            assert ours == theirs, der.hex()
            accepted += 1
    assert accepted > CERTIFICATES / 5


def test_requests(go: GoX509) -> None:
    """Requests that Go accepts are accepted, with the same key; subject and attributes may be malformed."""
    chance, accepted, refused_by_go = random.Random(2), 0, 0
    for seed in requests():
        for _ in range(REQUESTS):
            der = signed_again(seed, chance)
            theirs, ours = go.request(der), key_or_error(der)
            if "error" in ours:
                assert "error" in theirs, (ours, der.hex())
                continue
            accepted += 1
            if "error" in theirs:
                refused_by_go += 1
            else:
                assert ours == theirs, der.hex()
    assert accepted > refused_by_go > 0


def test_a_wrong_signature_is_no_request(go: GoX509) -> None:
    for seed in requests():
        bad = seed[:-1] + bytes([seed[-1] ^ 1])
        assert "error" in go.request(bad)
        with pytest.raises(InvalidCSRError, match=r"^invalid signature$"):
            read_csr(write_block("CERTIFICATE REQUEST", bad))


def test_a_key_of_an_unknown_kind_is_not_read(go: GoX509) -> None:
    """Not even its unused bits matter; found by fuzzing."""
    der = next(each for each in certificates() if b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01" in each)
    info = read_certificate(der).public_key_info
    odd = info.replace(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0209"))
    odd = odd.replace(bytes.fromhex("03420004"), bytes.fromhex("03420104"))[:-1] + b"\0"
    changed = der.replace(info, odd)
    assert changed != der
    assert "error" not in go.certificate(changed)
    assert read_certificate(changed).public_key is None
