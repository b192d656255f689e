"""The credentials that both programs generate into an empty directory."""

from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtensionOID

from .comparing import Fields, compare
from .servers import Setting, Started, pair

ALWAYS_SEEN: Final = ("generated-keys", "generated-subjects", "generated-key-identifiers")
_IDENTIFIERS: Final = {ExtensionOID.SUBJECT_KEY_IDENTIFIER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER}


def test_credentials(dapr_sentry: Path, tmp_path: Path) -> None:
    setting = Setting(
        flags=("--enable-metrics=false", "--trust-domain", "mesh.example"), environment={"NAMESPACE": "mesh"}
    )
    with pair(dapr_sentry, setting, tmp_path) as (dapr, ours):
        assert dapr.serving
        assert ours.serving
        compare(_generated(dapr), _generated(ours), differs=ALWAYS_SEEN)


def test_jwt_files(dapr_sentry: Path, tmp_path: Path) -> None:
    with pair(dapr_sentry, Setting(flags=("--enable-metrics=false", "--jwt-enabled")), tmp_path) as servers:
        dapr, ours = (_jwt(server) for server in servers)
        compare(dapr, ours)


def _generated(server: Started) -> Fields:
    fields = _files(server)
    for name in ("ca.crt", "issuer.crt"):
        certificates = x509.load_pem_x509_certificates((server.credentials / name).read_bytes())
        fields[f"{name}: number"] = str(len(certificates))
        certificate = certificates[0]
        lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        # Begin and end are taken from two reads of the clock.
        fields[f"{name}: lifetime"] = str(timedelta(minutes=round(lifetime.total_seconds() / 60)))
        fields[f"{name}: subject"] = certificate.subject.public_bytes().hex()
        fields[f"{name}: issuer"] = certificate.issuer.public_bytes().hex()
        fields[f"{name}: signature algorithm"] = certificate.signature_algorithm_oid.dotted_string
        fields[f"{name}: public key"] = certificate.public_key_algorithm_oid.dotted_string
        fields[f"{name}: extensions"] = " ".join(each.oid.dotted_string for each in certificate.extensions)
        for each in certificate.extensions:
            value = "" if each.oid in _IDENTIFIERS else each.value.public_bytes().hex()
            fields[f"{name}: extension {each.oid.dotted_string}"] = f"critical={each.critical} {value}"
    return fields


def _jwt(server: Started) -> Fields:
    key = serialization.load_pem_private_key((server.credentials / "jwt.key").read_bytes(), None)
    return _files(server) | {
        "label": (server.credentials / "jwt.key").read_text().splitlines()[0],
        "bits": str(getattr(key, "key_size", 0)),
        "key set": (server.credentials / "jwks.json").read_text()[:30],
    }


def _files(server: Started) -> dict[str, str]:
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in server.credentials.iterdir()}
    return {f"mode of {name}": mode for name, mode in modes.items() if not name.startswith(".")}
