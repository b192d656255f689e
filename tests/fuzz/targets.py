"""The parsers to fuzz, each with its oracle and with seeds.

A target accepts any bytes and returns, or fails with an `AssertionError` or with an error that the parser does not
document. The text of each documented error is one line, because it becomes one line of the log.
"""

import base64
import datetime as dt
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from sentry_trio.ca.asn1 import MalformedError
from sentry_trio.ca.bundle import StoredBundle, verify
from sentry_trio.ca.certificates import read_certificate, read_certificates
from sentry_trio.ca.csr import read_csr
from sentry_trio.ca.general_names import AlternativeNames
from sentry_trio.ca.jwk import read_jwks
from sentry_trio.ca.keys import read_private_key
from sentry_trio.ca.pem import write_block
from sentry_trio.errors import InvalidBundleError, InvalidConfigurationError, InvalidCSRError, SentryError
from sentry_trio.settings.configuration_document import parse_configuration
from sentry_trio.tokens.compact import InvalidTokenError
from sentry_trio.tokens.keys import read_keys
from sentry_trio.validators.jwks.keyset import SourceError
from sentry_trio.validators.jwks.sources import _decoded, _read
from sentry_trio.validators.jwks.validator import JwksValidator, check_claims
from testkit.ca.foreign import DATA, corpus
from testkit.go_x509 import GoX509
from tests.ca.test_go import FOUND_LATER, fields_or_error, key_or_error

NOW: Final = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
_NAMES: Final = AlternativeNames(("a.dapr-system.svc",), ("spiffe://cluster.local/ns/dapr-system/dapr-sentry",))
_KINDS: Final = frozenset({"ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_MOST: Final = 4_000  # characters of a message


@dataclass(frozen=True, slots=True)
class Target:
    """A parser with its oracle.

    Attributes:
        run: calls the parser; Go's reader is None on a machine without Go.
        seeds: returns inputs to begin with.
    """

    run: Callable[[bytes, GoX509 | None], None]
    seeds: Callable[[], list[bytes]]


@contextmanager
def only(*documented: type[Exception]) -> Iterator[None]:
    """Lets the documented errors pass if their text is one line."""
    try:
        yield
    except documented as error:
        _check_text(str(error))


def _check_text(text: str) -> None:
    assert text, "an error without a text"
    assert len(text.splitlines()) == 1, text
    assert len(text) <= _MOST, len(text)


def _pem(data: bytes, _: GoX509 | None) -> None:
    with only(InvalidBundleError):
        read_certificates(data, role="trust anchors")
    with only(InvalidBundleError):
        read_private_key(data)
    with only(InvalidCSRError):
        read_csr(data)


def _bundle(data: bytes, _: GoX509 | None) -> None:
    anchors, chain, key = ([*data.split(b"\x00", 2), b"", b""])[:3]
    with only(InvalidBundleError):
        verify(StoredBundle(anchors=anchors, chain=chain, key=key), NOW, _NAMES)


def _is_pss(data: bytes) -> bool:
    """Returns True for parameters of which Go passes over some lengths; see `test_lengths_of_explicit_tags`."""
    return bytes.fromhex("2a864886f70d01010a") in data


def _certificate(data: bytes, go: GoX509 | None) -> None:
    with only(MalformedError):
        read_certificate(data)
    ours = fields_or_error(data)
    if go is None or ours.get("error", "").startswith(FOUND_LATER):
        return
    theirs = go.certificate(data)
    theirs.pop("uris", None)
    assert ("error" in ours) == ("error" in theirs), (ours, theirs)
    if "error" not in ours:
        # Go reads keys that it verifies nothing with.
        if not ours.get("has_key"):
            theirs.pop("has_key", None)
        if _is_pss(data):
            theirs.pop("self_signed", None)
            ours.pop("self_signed", None)
        assert ours == theirs


def _request(data: bytes, go: GoX509 | None) -> None:
    with only(InvalidCSRError):
        read_csr(write_block("CERTIFICATE REQUEST", data))
    ours = key_or_error(data)
    if go is not None and not _is_pss(data):
        theirs = go.request(data)
        assert "error" in theirs or ours == theirs, (ours, theirs)


def _key_set(data: bytes, _: GoX509 | None) -> None:
    with only(SourceError):
        loaded = _read(data, _KINDS)
        for dropped in loaded.dropped:
            _check_text(dropped.reason)
    with only(InvalidBundleError):
        read_jwks(data)
    _decoded(data.decode(errors="replace"))


class _AnyKey:
    """Key set with one key for every ID, which verifies everything, so that claims are read."""

    ready = True

    async def find(self, kid: str) -> Any:
        return None if kid.startswith("absent") else self

    def why_dropped(self, kid: str) -> str | None:
        return None

    def verifies(self, token: bytes, algorithm: str) -> bool:
        return True


_VALIDATOR: Final = JwksValidator(_AnyKey(), audience="a", expiry_required=False, now=lambda: NOW)


def _finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as result:
        return result.value
    raise AssertionError("it waits")


def _token(data: bytes, _: GoX509 | None) -> None:
    """Reads a token; header and payload with a zero byte between are encoded first, so that both are changed easily."""
    if b"\0" in data:
        data = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (*data.split(b"\0", 1), b"\1" * 64))
    with only(InvalidTokenError):
        claims = _finish(_VALIDATOR._signed_claims(data.decode(errors="surrogateescape")))
        check_claims(claims, now=NOW.timestamp(), audience="a", subject="b", expiry_required=False)
    # A verifier is given the bytes of a token with a key of each kind.
    with only(SentryError):
        for key in _usable().values():
            key.verifies(data, "ES256")


@cache
def _usable() -> Any:
    return read_keys(json.loads(_KEY_SET)["keys"], _KINDS).usable


def _configuration(data: bytes, _: GoX509 | None) -> None:
    with only(InvalidConfigurationError):
        parse_configuration(data, {"HOME": "/root"}, name="c")


_POINT: Final = {
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
_KEY_SET: Final = json.dumps(
    {
        "keys": [
            {"kty": "EC", "crv": "P-256", "kid": "a", "use": "sig", "alg": "ES256", **_POINT},
            {"kty": "OKP", "crv": "Ed25519", "kid": "b", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty": "RSA", "kid": "c", "use": None, "n": base64.b64encode(b"\xc1" * 256).decode(), "e": "AQAB"},
            {"kty": "oct", "kid": "d", "k": "AAAA"},
            {"kty": "EC", "crv": "P-384", "kid": "e", "x5c": ["AAAA"], "key_ops": ["verify"], **_POINT},
        ]
    }
).encode()


def _pems() -> list[bytes]:
    data = [path.read_bytes() for path in [*sorted(DATA.glob("*.key")), DATA / "root.crt"]]
    certificate = data[-1]
    forms = [certificate, b"\xef\xbb\xbf" + certificate, certificate.rstrip() + certificate, certificate[27:-25]]
    forms += [certificate.decode().encode("utf-16"), certificate.replace(b"\n", b"\\n"), b'"' + certificate + b'"']
    forms += [certificate.replace(b"\n", b"\n  "), base64.b64encode(certificate), certificate.replace(b"\n", b"\r\n")]
    forms += [b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + data[0]]
    forms += [data[0].replace(b"-----\n", b"-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1)]
    forms += [write_block("CERTIFICATE REQUEST", der) for der in list(corpus("CERTIFICATE REQUEST").values())[:20]]
    return data + forms


def _bundles() -> list[bytes]:
    root, key = (DATA / "root.crt").read_bytes(), (DATA / "issuer.key").read_bytes()
    issuers = [write_block("CERTIFICATE", der) for name, der in corpus("CERTIFICATE").items() if ": issuer" in name]
    return [b"\0".join((root, issuer, key)) for issuer in issuers] + [b"\0".join((root, issuers[0] + root, key))]


def _compact(header: object, payload: object) -> bytes:
    return json.dumps(header).encode() + b"\0" + json.dumps(payload).encode()


def _tokens() -> list[bytes]:
    header = {"alg": "ES256", "kid": "a", "typ": "JWT"}
    claims = {"sub": "b", "aud": ["a"], "exp": 1e10, "nbf": 1, "iat": 1, "x": {"y": [None, True, 1.5]}}
    headers: list[object] = [header, {**header, "crit": []}, {**header, "b64": False}, {"alg": 1}, [], {}]
    payloads: list[object] = [claims, {**claims, "aud": "a"}, {**claims, "exp": 0}, {**claims, "nbf": "1"}, [], {}]
    made = [_compact(each, claims) for each in headers] + [_compact(header, each) for each in payloads]
    encoded = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (*made[0].split(b"\0"), b"\1" * 64))
    return [*made, _compact({**header, "kid": "absent"}, claims), encoded, b"a.b.c", b"", b".."]


_DOCUMENTS: Final = (
    (
        b"apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c, namespace: n}\nspec:\n  mtls:\n"
        b"    enabled: true\n    workloadCertTTL: 24h\n    allowedClockSkew: 15m\n    controlPlaneTrustDomain: td\n"
        b"    sentryAddress: a:1\n    tokenValidators:\n    - name: jwks\n      options:\n        source: |\n"
        b"          https://example.com/jwks\n        minRefreshInterval: 5m\n        requestTimeout: 1m\n"
    ),
    b"spec: {accessControl: {defaultAction: deny, trustDomain: public, policies: [{appId: a, trustDomain: b}]}}\n",
    b"spec: &a\n  mtls: {<<: *b, workloadCertTTL: !!str 1h, enabled: yes}\n",
    b'{"spec": {"mtls": {"allowedClockSkew": "\\u0031m", "enabled": false}}}',
    b"%YAML 1.2\n---\nspec: ${HOME}\n...\n",
    'spec:\n  tracing: {samplingRate: "1"}\n'.encode("utf-16"),
    b"- !!binary aGk=\n- 0x1F\n- 1_000\n- .inf\n- 2026-01-01\n- ? a\n  : b\n- >-\n  folded\n",
)

TARGETS: Final = {
    "pem": Target(_pem, _pems),
    "bundle": Target(_bundle, _bundles),
    "certificate": Target(_certificate, lambda: [*corpus("CERTIFICATE").values()]),
    "request": Target(_request, lambda: [*corpus("CERTIFICATE REQUEST").values()]),
    "key-set": Target(_key_set, lambda: [_KEY_SET, _KEY_SET[10:-2], b'{"issuer":"a","jwks_uri":"https://a/b"}', b"[]"]),
    "token": Target(_token, _tokens),
    "configuration": Target(_configuration, lambda: list(_DOCUMENTS)),
}

_HERE: Final = Path(__file__).parent


def inputs(name: str) -> list[bytes]:
    """Returns the seeds of a target, and inputs that led `make fuzz` to code that the seeds do not reach."""
    lines = (_HERE / "corpus" / f"{name}.txt").read_text().split()
    return TARGETS[name].seeds() + [base64.b64decode(line) for line in lines]
