"""Edits after which the credentials make no certificate authority."""

import os

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.certificates import Certificate, write_certificates
from sentry_trio.ca.keys import write_private_key
from sentry_trio.telemetry.metrics import RestartFailure
from testkit.authorities import made_csr
from testkit.ca.making import CLIENT_AUTH, HOUR, small_rsa, stored
from tests.edits.bundles import GOOD, ISSUER_KEY, LONG_AGO, NOW, OTHER_KEY, OTHER_ROOT_KEY, ROOT_KEY, issuer, root
from tests.edits.place import ANCHORS, BINARY, CHAIN, CREDENTIALS, KEY, BadEdit, Edit, Place, put_better, write


def _bundle(bundle: StoredBundle) -> Edit:
    return write({ANCHORS: bundle.anchors, CHAIN: bundle.chain, KEY: bundle.key})


def _anchors(*certificates: Certificate) -> Edit:
    return write({ANCHORS: write_certificates(certificates)})


def _chain(*certificates: Certificate) -> Edit:
    return write({CHAIN: write_certificates(certificates)})


def _halved(name: str) -> Edit:
    return lambda place: os.truncate(place.path(name), place.path(name).stat().st_size // 2)


def _exchanged(one: str, other: str) -> Edit:
    def edit(place: Place) -> None:
        first, second, between = place.path(one), place.path(other), place.path("between")
        first.rename(between)
        second.rename(first)
        between.rename(second)

    return edit


def _der(name: str) -> Edit:
    der = {
        ANCHORS: x509.load_pem_x509_certificate(GOOD.anchors).public_bytes(serialization.Encoding.DER),
        CHAIN: x509.load_pem_x509_certificate(GOOD.chain).public_bytes(serialization.Encoding.DER),
        KEY: ISSUER_KEY.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    return write({name: der[name]})


def _foreign_key(
    key: PrivateKeyTypes = ISSUER_KEY,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
    password: bytes | None = None,
) -> Edit:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return write({KEY: key.private_bytes(serialization.Encoding.PEM, form, encryption)})


def _public_key() -> Edit:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return write({KEY: ISSUER_KEY.public_key().public_bytes(serialization.Encoding.PEM, kind)})


def _odd_extension() -> x509.Extension[x509.ExtensionType]:
    oid = x509.ObjectIdentifier("1.2.3")
    return x509.Extension(oid, True, x509.UnrecognizedExtension(oid, b""))


def _constraint(domain: str) -> x509.Extension[x509.ExtensionType]:
    value = x509.NameConstraints([x509.UniformResourceIdentifier(domain)], None)
    return x509.Extension(value.oid, True, value)


_HTML = b"<!DOCTYPE html><title>502 Bad Gateway</title>"
_APART = (CHAIN, ANCHORS)
_UNRELATED = "issuer chain does not belong to trust anchors: x509: certificate signed by unknown authority"
_DATES = "issuer chain does not belong to trust anchors: x509: certificate has expired or is not yet valid: "
_NO_SIGNER = "intermediate certificate is not valid for signing: "
_NO_CERTIFICATES = "failed to verify CA bundle: no certificates found"
_NO_ANCHORS = "failed to verify CA bundle: failed to decode trust anchors: "
_NO_KEY = "failed to verify CA bundle: key is not PEM encoded"

_NOT_CREDENTIALS = [
    BadEdit("anchors empty", write({ANCHORS: b""}), f"{_NO_ANCHORS}no certificates found", (ANCHORS,)),
    BadEdit("chain empty", write({CHAIN: b""}), _NO_CERTIFICATES, (CHAIN,)),
    BadEdit("key empty", write({KEY: b""}), _NO_KEY, (KEY,)),
    BadEdit("all empty", write(dict.fromkeys(CREDENTIALS, b"")), f"{_NO_ANCHORS}no certificates found", (ANCHORS,)),
    BadEdit("anchors truncated", _halved(ANCHORS), f"{_NO_ANCHORS}no certificates found", (ANCHORS,)),
    BadEdit("chain truncated", _halved(CHAIN), _NO_CERTIFICATES, (CHAIN,)),
    BadEdit("key truncated", _halved(KEY), _NO_KEY, (KEY,)),
    BadEdit("key and chain exchanged", _exchanged(KEY, CHAIN), 'is of type "PRIVATE KEY"', (CHAIN,)),
    BadEdit("anchors and chain exchanged", _exchanged(ANCHORS, CHAIN), "trust anchor is not self-signed", (ANCHORS,)),
    BadEdit("anchors and key exchanged", _exchanged(ANCHORS, KEY), 'is of type "PRIVATE KEY"', (ANCHORS,)),
    BadEdit("key is the chain", write({KEY: GOOD.chain}), "unsupported block type CERTIFICATE", (KEY,)),
    BadEdit("key is a public key", _public_key(), "unsupported block type PUBLIC KEY", (KEY,)),
    BadEdit("chain is a CSR", write({CHAIN: made_csr()}), 'is of type "CERTIFICATE REQUEST"', (CHAIN,)),
    BadEdit("key behind the chain", write({CHAIN: GOOD.chain + GOOD.key}), "PEM block 2 of the issuer ch", (CHAIN,)),
    BadEdit("anchors in DER", _der(ANCHORS), f"{_NO_ANCHORS}no certificates found", (ANCHORS,)),
    BadEdit("chain in DER", _der(CHAIN), _NO_CERTIFICATES, (CHAIN,)),
    BadEdit("key in DER", _der(KEY), _NO_KEY, (KEY,)),
    BadEdit("anchors are a web page", write({ANCHORS: _HTML}), f"{_NO_ANCHORS}no certificates found", (ANCHORS,)),
    BadEdit("chain is binary", write({CHAIN: BINARY}), _NO_CERTIFICATES, (CHAIN,)),
    BadEdit("key is binary", write({KEY: BINARY}), _NO_KEY, (KEY,)),
    BadEdit(
        "chain is PEM of nonsense",
        write({CHAIN: b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"}),
        "certificate 1 of the issuer chain cannot be read",
        (CHAIN,),
    ),
    BadEdit("key encrypted", _foreign_key(password=b"secret"), "the key is encrypted: ", (KEY,)),
    BadEdit(
        "key encrypted the old way",
        _foreign_key(ISSUER_KEY, serialization.PrivateFormat.TraditionalOpenSSL, b"secret"),
        "the key is encrypted: ",
        (KEY,),
    ),
    BadEdit("key on X25519", _foreign_key(x25519.X25519PrivateKey.generate()), "of an unsupported kind", (KEY,)),
    BadEdit("key on Ed448", _foreign_key(ed448.Ed448PrivateKey.generate()), "of an unsupported kind", (KEY,)),
    BadEdit(
        "key on secp256k1", _foreign_key(ec.generate_private_key(ec.SECP256K1())), "of an unsupported kind", (KEY,)
    ),
]
_WEAK_KEY = small_rsa()
_NOT_TOGETHER = [
    BadEdit(
        "key of another",
        write({KEY: write_private_key(OTHER_KEY)}),
        "issuer key does not match issuer certificate",
        (CHAIN, KEY),
    ),
    BadEdit("chain renewed alone", _chain(issuer(OTHER_KEY)), "issuer key does not match", (CHAIN, KEY)),
    BadEdit("anchors of another", _anchors(root(OTHER_ROOT_KEY)), _UNRELATED, _APART, recovery=put_better),
    BadEdit("issuer of another", _chain(issuer(ISSUER_KEY, OTHER_ROOT_KEY)), _UNRELATED, _APART, recovery=put_better),
    BadEdit("issuer expired", _chain(issuer(not_before=LONG_AGO, not_after=NOW - HOUR)), _DATES, (CHAIN,)),
    BadEdit("issuer not valid yet", _chain(issuer(not_before=NOW + HOUR)), _DATES, (CHAIN,)),
    BadEdit("root expired", _anchors(root(not_before=LONG_AGO, not_after=NOW - HOUR)), _DATES, (ANCHORS,)),
    BadEdit("root not valid yet", _anchors(root(not_before=NOW + HOUR)), _DATES, (ANCHORS,)),
    BadEdit("issuer is no CA", _chain(issuer(ca=False, usage=None)), f"{_NO_SIGNER}its basicConstraints", (CHAIN,)),
    BadEdit("issuer without constraints", _chain(issuer(ca=None)), f"{_NO_SIGNER}it has no basicCon", (CHAIN,)),
    BadEdit(
        "issuer without certSign",
        _chain(issuer(usage=["crl_sign", "digital_signature"])),
        f"{_NO_SIGNER}its keyUsage lacks keyCertSign",
        (CHAIN,),
    ),
    BadEdit("issuer for clients alone", _chain(issuer(extended=[CLIENT_AUTH])), "incompatible key usage", _APART),
    BadEdit("issuer with an odd extension", _chain(issuer(more=[_odd_extension()])), "critical ext", (CHAIN,)),
    BadEdit(
        "issuer that may not sign the trust domain",
        _chain(issuer(more=[_constraint("other.example")])),
        "is not authorized to sign for this name",
        _APART,
    ),
    BadEdit("root with an odd extension", _anchors(root(more=[_odd_extension()])), "critical ext", (ANCHORS,)),
    BadEdit("no room below the root", _anchors(root(path_length=0)), "path length constraint", _APART),
    BadEdit(
        "chain out of order",
        _chain(root(), issuer()),
        "certificate 1 is not signed by the one after it",
        (CHAIN,),
    ),
    BadEdit("issuer is the root", _bundle(stored([root()], [root()], ROOT_KEY)), "issuer chain is empty", (CHAIN,)),
    BadEdit("anchors not all self-signed", _anchors(root(), issuer()), "is not self-signed", (ANCHORS,)),
    BadEdit("anchor is no CA", _anchors(root(ca=False)), "is not self-signed: the signer may not sign", (ANCHORS,)),
    BadEdit(
        "issuer too weak for TLS",
        _bundle(stored([root()], [issuer(_WEAK_KEY)], _WEAK_KEY)),
        "failed to make the serving certificate: the certificate cannot be served over TLS: ca key too small",
        (CHAIN,),
        RestartFailure.SERVER_CERTIFICATE,
    ),
]

EDITS = [*_NOT_CREDENTIALS, *_NOT_TOGETHER]
