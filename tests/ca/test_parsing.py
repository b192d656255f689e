"""The error boundary around parsers: exceptions of a parser become errors about its input."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from sentry_trio.ca import jwk
from sentry_trio.ca.bundle import StoredBundle, verify, verify_public
from sentry_trio.ca.certificates import read_certificates
from sentry_trio.ca.csr import read_csr
from sentry_trio.ca.jwk import read_jwks
from sentry_trio.ca.keys import read_private_key, write_private_key
from sentry_trio.ca.parsing import parsing
from sentry_trio.client import RequestFailedError, _checked
from sentry_trio.errors import InvalidBundleError, InvalidCSRError, Part, SentryError
from sentry_trio.proto.sentry_pb2 import SignCertificateResponse
from testkit.ca.making import NOW, csr_pem, new_key

# An issuer with TLS feature 23 (RFC 7633), which few parsers know, and the root that has signed it.
DATA = Path(__file__).parent / "data" / "tls-feature"
ANCHORS, CHAIN = (DATA / "ca.crt").read_bytes(), (DATA / "issuer.crt").read_bytes()
KEY = write_private_key(new_key())


class PanicException(BaseException):
    """Looks like a panic of cryptography's Rust code."""


def raising(error: BaseException) -> Callable[..., object]:
    def parse(*_: object, **__: object) -> object:
        raise error

    return parse


def test_a_certificate_with_an_unknown_tls_feature_is_read() -> None:
    (issuer,) = read_certificates(CHAIN, role="issuer chain")
    verify_public(ANCHORS, CHAIN, issuer.not_before)


def test_a_certificate_that_its_parser_fails_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentry_trio.ca.certificates.read_public_key", raising(KeyError(23)))
    with pytest.raises(InvalidBundleError) as caught:
        verify(StoredBundle(ANCHORS, CHAIN, KEY), NOW)
    assert str(caught.value) == (
        "failed to verify CA bundle: failed to decode trust anchors: certificate 1 of the trust anchors cannot be "
        "read here or by Dapr's components: unknown value 23"
    )
    assert caught.value.parts == (Part.ANCHORS,)


def test_a_bundle_whose_parts_fail_only_when_they_are_compared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentry_trio.ca.bundle.check_signed_by", raising(LookupError("no such curve")))
    with pytest.raises(InvalidBundleError) as caught:
        verify(StoredBundle(ANCHORS, ANCHORS, KEY), NOW)
    assert str(caught.value) == "failed to verify CA bundle: no such curve"
    assert caught.value.parts == (Part.ANCHORS,)


def test_an_answer_whose_certificate_its_library_fails_on_is_refused() -> None:
    """The client reads certificates with cryptography, which raises KeyError for this one."""
    with pytest.raises(RequestFailedError) as caught:
        _checked(SignCertificateResponse(workload_certificate=CHAIN), new_key())
    assert str(caught.value) == "the response has no valid workload certificate: unknown value 23"


@pytest.mark.parametrize("error", [KeyError(23), PanicException("attempt to subtract with overflow")], ids=repr)
def test_a_request_or_a_key_that_its_library_fails_on_is_refused(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = {"KeyError": "unknown value 23"}.get(type(error).__name__, str(error))
    monkeypatch.setattr("sentry_trio.ca.csr.read_public_key", raising(error))
    with pytest.raises(InvalidCSRError) as csr:
        read_csr(csr_pem(new_key()))
    assert str(csr.value) == f"failed to parse certificate signing request: {why}"
    monkeypatch.setattr(serialization, "load_der_private_key", raising(error))
    with pytest.raises(InvalidBundleError) as key:
        read_private_key(KEY)
    assert str(key.value) == f'the "PRIVATE KEY" block holds no key that can be read: {why}'
    monkeypatch.setattr(jwk, "import_key", raising(error))
    with pytest.raises(InvalidBundleError) as jwks:
        read_jwks(b'{"kty":"RSA"}')
    assert str(jwks.value) == f"failed to verify JWKS: failed to parse JWKS: {why}"


def test_the_reason_is_never_empty() -> None:
    with pytest.raises(InvalidBundleError, match=r"^failed to verify JWKS: failed to parse JWKS: \S"):
        read_jwks('{"kty":"RSA","n":"ä","e":"AQAB"}'.encode())


@pytest.mark.parametrize("error", [InvalidCSRError("invalid signature"), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_errors_about_the_input_and_the_end_of_the_process_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, parsing(SentryError):
        raise error
    assert caught.value is error
