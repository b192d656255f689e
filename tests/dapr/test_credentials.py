"""Credential files: the start of both programs with them, and the answers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from sentry_trio.ca.keys import PrivateKey, write_private_key
from testkit.authorities import SKEW, wall_clock
from testkit.ca.making import CA_USAGE, CLIENT_AUTH, DAY, HOUR, SERVER_AUTH, unread_certificate

from .asking import replies_or_outcomes
from .comparing import Seen, compare, shown_by
from .inputs import credentials, good_bundle, jwt_files, request
from .servers import Setting, pair

BUNDLES = Path(__file__).parent / "cases" / "bundles"
JWKS = Path(__file__).parent / "cases" / "jwks"
Files = dict[str, bytes]


@dataclass(frozen=True)
class Case:
    make: Callable[[], Files]
    flags: tuple[str, ...] = ()


def fixed(files: Files, flags: tuple[str, ...] = ()) -> Case:
    return Case(lambda: files, flags)


def stored(name: str) -> Files:
    """The files of a directory of cases, before a fault is added."""
    return {path.name: path.read_bytes() for path in (BUNDLES / name).iterdir() if path.is_file()}


NOW = wall_clock()
WINDOW = {"not_before": NOW - HOUR, "not_after": NOW + 30 * DAY}
ROOT_KEY, ISSUER_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def made(issuer_key: PrivateKey = ISSUER_KEY, *, root: dict[str, object] | None = None, **issuer: object) -> Files:
    """A root and an issuer of it, with some properties changed."""
    roots = unread_certificate("root", ROOT_KEY, **(WINDOW | (root or {})))  # type: ignore[arg-type]  # passed on
    chain = unread_certificate("issuer", issuer_key, "root", ROOT_KEY, **(WINDOW | issuer))  # type: ignore[arg-type]
    return {
        "ca.crt": pem([roots]),
        "issuer.crt": pem([chain]),
        "issuer.key": write_private_key(issuer_key),
    }


GOOD = made()


def key(private: PrivateKey, form: serialization.PrivateFormat, password: bytes = b"") -> bytes:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, form, hidden)


def longer_chain(*, last: bool) -> Files:
    """An intermediate between root and issuer, with the root at the end of the chain if `last`."""
    middle_key = ec.generate_private_key(ec.SECP256R1())
    root = unread_certificate("root", ROOT_KEY, **WINDOW)  # type: ignore[arg-type]  # passed on
    middle = unread_certificate("middle", middle_key, "root", ROOT_KEY, **WINDOW)  # type: ignore[arg-type]
    issuer = unread_certificate("issuer", ISSUER_KEY, "middle", middle_key, **WINDOW)  # type: ignore[arg-type]
    chain = [issuer, middle, *([root] if last else [])]
    return GOOD | {"ca.crt": pem([root]), "issuer.crt": pem(chain)}


TRADITIONAL = serialization.PrivateFormat.TraditionalOpenSSL
PKCS8 = serialization.PrivateFormat.PKCS8
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
X25519_KEY = x25519.X25519PrivateKey.generate().private_bytes(
    serialization.Encoding.PEM, PKCS8, serialization.NoEncryption()
)
OTHER = made(ec.generate_private_key(ec.SECP384R1()))

FILES = {
    "good": fixed(GOOD),
    "RSA issuer": Case(lambda: made(RSA_KEY)),
    "Ed25519 issuer": Case(lambda: made(ed25519.Ed25519PrivateKey.generate())),
    "P-384 issuer": fixed(OTHER),
    "P-521 issuer": Case(lambda: made(ec.generate_private_key(ec.SECP521R1()))),
    "P-224 issuer": Case(lambda: made(ec.generate_private_key(ec.SECP224R1()))),
    "key in SEC 1": fixed(GOOD | {"issuer.key": key(ISSUER_KEY, TRADITIONAL)}),
    "key in PKCS #1": Case(lambda: made(RSA_KEY) | {"issuer.key": key(RSA_KEY, TRADITIONAL)}),
    "key that is encrypted": fixed(GOOD | {"issuer.key": key(ISSUER_KEY, PKCS8, b"secret")}),
    "key of X25519": fixed(GOOD | {"issuer.key": X25519_KEY}),
    "key behind words": fixed(GOOD | {"issuer.key": b"words\n" + GOOD["issuer.key"]}),
    "key that is no PEM": fixed(GOOD | {"issuer.key": b"words"}),
    "empty key": fixed(GOOD | {"issuer.key": b""}),
    "certificate as key": fixed(GOOD | {"issuer.key": GOOD["issuer.crt"]}),
    "key of another": fixed(GOOD | {"issuer.key": OTHER["issuer.key"]}),
    "issuer of another root": fixed(GOOD | {"ca.crt": credentials(good_bundle())["ca.crt"]}),
    "two roots": fixed(GOOD | {"ca.crt": GOOD["ca.crt"] + OTHER["ca.crt"]}),
    "roots with words between": fixed(GOOD | {"ca.crt": GOOD["ca.crt"] + b"words\n" + OTHER["ca.crt"]}),
    "roots with a key between": fixed(GOOD | {"ca.crt": GOOD["ca.crt"] + GOOD["issuer.key"] + OTHER["ca.crt"]}),
    "root twice": fixed(GOOD | {"ca.crt": GOOD["ca.crt"] * 2}),
    "root with CRLF": fixed(GOOD | {"ca.crt": GOOD["ca.crt"].replace(b"\n", b"\r\n")}),
    "root without line end": fixed(GOOD | {"ca.crt": GOOD["ca.crt"].rstrip()}),
    "empty root": fixed(GOOD | {"ca.crt": b""}),
    "issuer as root": fixed(GOOD | {"ca.crt": GOOD["issuer.crt"]}),
    "empty issuer": fixed(GOOD | {"issuer.crt": b""}),
    "root as issuer": fixed(GOOD | {"issuer.crt": GOOD["ca.crt"], "issuer.key": write_private_key(ROOT_KEY)}),
    "issuer and root in the chain": fixed(GOOD | {"issuer.crt": GOOD["issuer.crt"] + GOOD["ca.crt"]}),
    "longer chain": Case(lambda: longer_chain(last=False)),
    "longer chain with the root": Case(lambda: longer_chain(last=True)),
    "chain in the wrong order": Case(lambda: GOOD | {"issuer.crt": GOOD["ca.crt"] + GOOD["issuer.crt"]}),
    "expired issuer": Case(lambda: made(not_after=NOW - HOUR / 2)),
    "expired root": Case(lambda: made(root={"not_after": NOW - HOUR / 2})),
    "issuer of the future": Case(lambda: made(not_before=NOW + HOUR)),
    "root of the future": Case(lambda: made(root={"not_before": NOW + HOUR})),
    "issuer that expires soon": Case(lambda: made(not_after=NOW + HOUR)),
    "issuer without CA": Case(lambda: made(ca=False, usage=CA_USAGE)),
    "issuer without basic constraints": Case(lambda: made(ca=None, usage=CA_USAGE)),
    "issuer without key usage": Case(lambda: made(usage=None)),
    "issuer that may not sign": Case(lambda: made(usage=("digital_signature",))),
    "issuer for clients": Case(lambda: made(extended=[CLIENT_AUTH])),
    "issuer for servers": Case(lambda: made(extended=[SERVER_AUTH])),
    "issuer with path length 0": Case(lambda: made(path_length=0)),
    "root with path length 0": Case(lambda: made(root={"path_length": 0})),
    "root without CA": Case(lambda: made(root={"ca": False})),
    "no key": fixed({name: GOOD[name] for name in ("ca.crt", "issuer.crt")}),
    "no root": fixed({name: GOOD[name] for name in ("issuer.crt", "issuer.key")}),
    "other files beside": fixed(GOOD | {"README": b"words", "sub/file": b"x"}),
}

CASES = {
    str(directory.relative_to(BUNDLES)): fixed(stored(str(directory.relative_to(BUNDLES))))
    for directory in sorted({path.parent for path in BUNDLES.rglob("ca.crt")})
} | {
    "tlsfeature-kills-process/bad": Case(
        lambda: stored("tlsfeature-kills-process") | stored("tlsfeature-kills-process/bad")
    )
}

ON = ("--jwt-enabled",)
SET = jwt_files()
JWTS = {
    "JWTs off, bad key": fixed(GOOD | {"jwt.key": b"words", "jwks.json": b"{}"}),
    "key set without key": fixed(GOOD | {"jwks.json": SET["jwks.json"]}, flags=ON),
    "JWT key": fixed(GOOD | SET, flags=ON),
    "JWT key of another": fixed(GOOD | SET | {"jwt.key": jwt_files()["jwt.key"]}, flags=ON),
    "key set that is empty": fixed(GOOD | SET | {"jwks.json": b'{"keys": []}'}, flags=ON),
    "key set that is not JSON": fixed(GOOD | SET | {"jwks.json": b"words"}, flags=ON),
    "key set that is a key": fixed(
        GOOD | SET | {"jwks.json": SET["jwks.json"].removeprefix(b'{"keys":[').removesuffix(b"]}")}, flags=ON
    ),
    "padded key set": fixed(GOOD | {name: (JWKS / name).read_bytes() for name in ("jwt.key", "jwks.json")}, flags=ON),
}

ALL = FILES | CASES | JWTS


SEEN: Seen = {
    "x25519-key": ("key of X25519",),
    "foreign-pem-blocks": ("roots with a key between", "combined-pem-as-issuer-chain"),
    "issuer-must-be-a-ca": ("issuer without CA", "issuer without basic constraints", "issuer that may not sign"),
    "path-length": ("root with path length 0",),
    "name-constraints": ("name-constraints-uri",),
    "untidy-pem": (
        "anchors-lost-without-newline",
        "anchors-lost-without-newline/two",
        "chain-with-byte-order-mark",
    ),
    "jwt-key-id-of-the-set": ("padded key set",),
    "ec-parameters": ("key-ec-parameters",),
    "incomplete-files": ("no key", "no root"),
    "lifetime-within-the-issuer": ("issuer that expires soon",),
    "rsa-1024": ("rsa-1024-issuer",),
    "waits-for-validity": ("issuer of the future", "root of the future"),
    "jwt-off": ("JWTs off, bad key",),
    "jwt-new-key": ("key set without key",),
}


@pytest.mark.parametrize("name", ALL)
def test_credentials(dapr_sentry: Path, tmp_path: Path, name: str) -> None:
    case = ALL[name]
    setting = Setting(files=case.make(), flags=("--enable-metrics=false", *case.flags))
    with pair(dapr_sentry, setting, tmp_path) as servers:
        dapr, ours = replies_or_outcomes(servers, request(), SKEW)
        compare(dapr, ours, differs=shown_by(SEEN, name), may_differ=("start-error-texts",))
