"""`sentry-trio request`: obtains a workload certificate, and JWTs, from a running authority as daprd would."""

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from rich.console import Console
from rich.table import Table

from sentry_trio.ca.certificates import read_certificates, write_certificates
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.spiffe import parse_trust_domain, sentry_id
from sentry_trio.cli.files import FileContent, replace_files
from sentry_trio.cli.jwts import ObtainedJwt, brief, jwts_of
from sentry_trio.client import Authority, Obtained, RequestFailedError, Workload, obtain
from sentry_trio.errors import InvalidBundleError, InvalidIdentityError, InvalidOptionsError
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.settings import checks
from sentry_trio.settings.flags import REQUIRED, Kind, choice_of, declare, parse_flags
from sentry_trio.telemetry.logs import capture_warnings

_VALIDATORS: Final = {
    "unknown": SignCertificateRequest.UNKNOWN,
    "insecure": SignCertificateRequest.INSECURE,
    "kubernetes": SignCertificateRequest.KUBERNETES,
    "jwks": SignCertificateRequest.JWKS,
}
_JWT_FILES: Final = re.compile(r"jwt(-[0-9]+)?\.txt")
_PORT_DIGITS: Final = 6  # one more than a port has; Python refuses to convert thousands


def _utf8(flag: str, text: str) -> str:
    """Checks a value that is part of the request; Python passes on other bytes as surrogates."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidOptionsError(f"--{flag}: {text!r} is not valid UTF-8")
    return text


def _utf8_each(flag: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_utf8(flag, text) for text in texts)


def _address(flag: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and 0 < int(port[:_PORT_DIGITS]) <= checks.LAST_PORT):
        raise InvalidOptionsError(f"--{flag} must be host:port with a port from 1 to {checks.LAST_PORT}, got {text!r}")
    return checks.host(flag, host) or "127.0.0.1", int(port)


def _trust_domain(flag: str, text: str) -> str:
    try:
        return parse_trust_domain(text)
    except InvalidIdentityError as error:
        raise InvalidOptionsError(f"--{flag} {text!r}: {error}") from error


_file = partial(declare, Kind.STRING, check=checks.path)


class RequestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Flags of `request`."""

    id: str = declare(Kind.STRING, REQUIRED, "app ID, the last segment of the SPIFFE ID", metavar="ID", check=_utf8)
    namespace: str = declare(Kind.STRING, "default", "namespace of the workload", metavar="NAME", check=_utf8)
    trust_domain: str = declare(
        Kind.STRING,
        "",
        "trust domain to request (default: the authority's choice, 'public')",
        metavar="NAME",
        check=_utf8,
    )
    address: tuple[str, int] = declare(
        Kind.STRING, "127.0.0.1:50001", "address of the authority", metavar="HOST:PORT", check=_address
    )
    trust_anchors: Path = _file(
        ".sentry/ca.crt", "PEM certificates that the authority must verify against", metavar="FILE"
    )
    sentry_trust_domain: str = declare(
        Kind.STRING, "localhost", "the authority's own trust domain", metavar="NAME", check=_trust_domain
    )
    sentry_namespace: str = declare(Kind.STRING, "default", "the authority's own namespace", metavar="NAME")
    token_file: Path | None = _file(None, "token for the validator", metavar="FILE")
    validator: str = declare(
        Kind.STRING,
        "unknown",
        "validator of the request (unknown: the authority's choice)",
        metavar="NAME",
        choices=tuple(_VALIDATORS),
    )
    jwt_audience: tuple[str, ...] = declare(
        Kind.REPEATED, (), "audience of a JWT; may be repeated", metavar="AUDIENCE", check=_utf8_each
    )
    print_jwts: bool = declare(Kind.BOOL, default=False, help="print the JWTs themselves too; they are secrets")
    key_type: KeyType = declare(
        Kind.STRING, KeyType.P256.value, "key to generate", metavar="TYPE", **choice_of(KeyType)
    )
    out: Path = _file(".", "directory to write to, created if absent", metavar="DIR")


OPTIONS: Final = RequestOptions
EXAMPLES: Final = """\
Examples:
  from the authority that `make run` started:
    sentry-trio request --id myapp --out certs
    openssl verify -CAfile certs/ca.crt -untrusted certs/tls.crt certs/tls.crt
  from an authority in a cluster, with a projected token:
    sentry-trio request --address dapr-sentry.dapr-system.svc:443 --trust-anchors /var/run/secrets/dapr.io/tls/ca.crt \\
      --sentry-trust-domain cluster.local --sentry-namespace dapr-system --id myapp --namespace shop \\
      --token-file /var/run/secrets/dapr.io/sentrytoken/token --validator kubernetes --out certs
  with a token for another service, if the authority runs with --jwt-enabled:
    sentry-trio request --id myapp --jwt-audience https://orders.example --out certs
    curl --header "Authorization: Bearer $(cat certs/jwt-1.txt)" https://orders.example

Writes to the directory of --out: tls.key (the private key), tls.crt (certificate and issuer chain) and ca.crt (trust
anchors). If the authority issues JWTs, also jwt.txt (for the trust domain and all audiences) and jwt-1.txt, jwt-2.txt
... (for each --jwt-audience alone, in that order). Key and JWTs have mode 0600: they prove the identity. All files are
replaced or none, and JWTs of an earlier request are removed.
Exit codes: 0 obtained, 1 not obtained, 2 the command line is wrong.
"""


def run(arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Obtains a certificate, writes it, prints a summary; returns the exit code."""
    options = parse_flags(RequestOptions, arguments)
    capture_warnings()
    try:
        obtained = obtain(_authority(options), _workload(options), key_type=options.key_type)
        jwts = jwts_of(obtained, options.jwt_audience)
        _write(options.out, obtained, jwts)
    except RequestFailedError as error:
        print(f"sentry-trio request: {error}", file=sys.stderr)
        return 1
    _show(obtained, options.out, jwts, print_jwts=options.print_jwts)
    return 0


def _authority(options: RequestOptions) -> Authority:
    host, port = options.address
    return Authority(
        host=host,
        port=port,
        trust_anchors=_read_anchors(options.trust_anchors),
        spiffe_id=sentry_id(options.sentry_trust_domain, options.sentry_namespace),
    )


def _workload(options: RequestOptions) -> Workload:
    token = b"" if options.token_file is None else _read(options.token_file, "token")
    return Workload(
        app_id=options.id,
        namespace=options.namespace,
        trust_domain=options.trust_domain,
        token=token.decode("ascii", "replace").strip(),
        validator=_VALIDATORS[options.validator],
        audiences=options.jwt_audience,
    )


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RequestFailedError(f"cannot read the {what} from {path}: {error.strerror}") from error


def _read_anchors(path: Path) -> bytes:
    """Reads trust anchors by the authority's own rules, so that a file that it accepts works here, too."""
    try:
        return write_certificates(read_certificates(_read(path, "trust anchors"), role="trust anchors"))
    except InvalidBundleError as error:
        raise RequestFailedError(f"cannot use the trust anchors from {path}: {error}") from error


def _write(directory: Path, obtained: Obtained, jwts: Sequence[ObtainedJwt]) -> None:
    """Replaces all files or none, and removes JWTs of an earlier request, which may name another identity."""
    files = {
        "tls.key": FileContent(obtained.key, 0o600),
        "tls.crt": FileContent(obtained.chain, 0o644),
        "ca.crt": FileContent(obtained.anchors, 0o644),
        # No line break at the end: readers of a token often send the whole file.
        **{each.name: FileContent(each.token.encode(), 0o600) for each in jwts},
    }
    try:
        replace_files(directory, files, stale=_JWT_FILES)
    except OSError as error:
        raise RequestFailedError(f"cannot write to {error.filename or directory}: {error.strerror}") from error


def _show(obtained: Obtained, directory: Path, jwts: Sequence[ObtainedJwt], *, print_jwts: bool) -> None:
    certificate = obtained.certificate
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    left = obtained.valid_until - datetime.now(UTC)
    hours, minutes = divmod(int(left.total_seconds()) // 60, 60)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("SPIFFE ID", obtained.spiffe_id)
    for name in names.get_values_for_type(x509.DNSName):
        table.add_row("DNS name", name)
    table.add_row("Issuer", certificate.issuer.rfc4514_string())
    table.add_row("Valid", f"from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("", f"until {obtained.valid_until:%Y-%m-%d %H:%M:%S} UTC, {hours} h {minutes} min from now")
    table.add_row("Serial", f"{certificate.serial_number:x}")
    table.add_row("SHA-256", certificate.fingerprint(hashes.SHA256()).hex())
    for label, name in (("Private key", "tls.key"), ("Certificate", "tls.crt"), ("Trust anchors", "ca.crt")):
        table.add_row(label, str(directory / name))
    for each in jwts:
        table.add_row(each.label, str(directory / each.name))
        for line in brief(each.token):
            table.add_row("", line)
    # Shown without markup: a directory may be called [old] or :key:.
    Console(highlight=False, markup=False, emoji=False).print(table)
    if print_jwts:
        for each in jwts:
            print(each.token)
