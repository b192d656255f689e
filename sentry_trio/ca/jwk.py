"""Public keys as JSON Web Keys (RFC 7517), and sets of them: read, written, compared. Pure.

A key of a rotation has its times in a member of our own, which all others ignore (RFC 7517, 4):

    "sentry-trio/rotation": {"from": 1893456000, "until": 1896048000, "lifetime": 86400}

It begins to sign at `from` and leaves the set at `until` (both in seconds since 1970). `lifetime` is the longest
lifetime of its tokens in seconds. So all replicas with the key set, restarted or not, know the same times, which
`jwt_rotation.py` makes.

Imported only where JWTs are issued, as its library is.
"""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, assert_never

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key

from sentry_trio.ca.keys import PrivateKey, PublicKey
from sentry_trio.ca.parsing import parsing
from sentry_trio.errors import InvalidBundleError
from sentry_trio.tokens.compact import LAST_SECOND
from sentry_trio.tokens.keys import normalized

MOST_KEYS: Final = 100
"""Largest number of keys in a set."""

SCHEDULE: Final = "sentry-trio/rotation"
"""Member with a key's times."""

# Members of a thumbprint: RFC 7638, 3.2, and RFC 8037, 2.
_REQUIRED: Final = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
# Members that only private and secret keys have: RFC 7518, 6.2.2, 6.3.2 and 6.4.1.
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

Jwk = dict[str, Any]
"""Public key as JSON."""


class _Times(msgspec.Struct, rename={"since": "from"}):
    since: int | None = None
    until: int | None = None
    lifetime: int = 0


class Schedule(msgspec.Struct, frozen=True):
    """Times of a key: it signs from the first, and is published until the last.

    Attributes:
        since: time from which it signs; None if it always did.
        until: time at which it is removed from the set; None if that is not known yet.
        lifetime: longest lifetime of its tokens.
    """

    since: datetime | None = None
    until: datetime | None = None
    lifetime: timedelta = timedelta()


def read_jwks(text: bytes) -> list[Jwk]:
    """Reads public keys: an object with `keys`, or a single key.

    Raises:
        InvalidBundleError: it is not a key set, has no keys or more than 100, or has a private key.
    """
    with parsing(_unreadable):
        document = msgspec.json.decode(text, type=dict[str, Any])
        # Null members and padding are removed before publication: strict verifiers reject them.
        keys = [normalized(each) for each in msgspec.convert(document.get("keys", [document]), list[Jwk])]
    if not keys:
        raise InvalidBundleError("failed to verify JWKS: JWKS doesn't contain any keys")
    if len(keys) > MOST_KEYS:
        raise InvalidBundleError(f"failed to verify JWKS: more than {MOST_KEYS} keys")
    for each in keys:
        if private := sorted(_PRIVATE & each.keys()):
            raise InvalidBundleError(
                f"failed to verify JWKS: key {each.get('kid', '')!r} is not public: it has {', '.join(private)}, and "
                "would be published; remove all members that are not public"
            )
        with parsing(_unreadable):
            import_key(each)
        schedule_of(each)
    return keys


def write_jwks(keys: list[Jwk]) -> bytes:
    """Returns a set as compact JSON with members in the order of the alphabet, as Dapr Sentry 1.18 writes it."""
    return msgspec.json.encode({"keys": keys}, order="sorted")


def published_form(keys: list[Jwk]) -> bytes:
    """Returns a set for publication: without the times."""
    return write_jwks([{name: value for name, value in each.items() if name != SCHEDULE} for each in keys])


def make_jwk(key: PublicKey, algorithm: str, key_id: str) -> Jwk:
    """Returns a key of a set, as Dapr Sentry 1.18 writes it."""
    return {**_members(key), "alg": algorithm, "kid": key_id, "use": "sig"}


def is_key(member: Jwk, key: PublicKey) -> bool:
    """Returns whether a key of a set is this one and is for signatures; names and algorithms do not matter."""
    if member.get("use", "sig") != "sig":
        return False
    own = _members(key)
    theirs = import_key(member).as_dict(private=False)
    return {name: theirs.get(name) for name in own} == own


def thumbprint(key: PublicKey) -> str:
    """SHA-256 thumbprint (RFC 7638) in standard base64 with padding: unusual, but as in Dapr Sentry 1.18."""
    return b64encode(sha256(msgspec.json.encode(_members(key), order="sorted")).digest()).decode()


def schedule_of(member: Jwk) -> Schedule | None:
    """Returns a key's times; None if it has none.

    Raises:
        InvalidBundleError: they are invalid.
    """
    if SCHEDULE not in member:
        return None
    try:
        times = msgspec.convert(member[SCHEDULE], _Times)
    except msgspec.ValidationError as error:
        raise _no_schedule(member, str(error)) from error
    if not all(0 <= number <= LAST_SECOND for number in (times.since or 0, times.until or 0, times.lifetime)):
        raise _no_schedule(member, "a number is out of range")
    return Schedule(_time(times.since), _time(times.until), timedelta(seconds=times.lifetime))


def with_schedule(member: Jwk, schedule: Schedule) -> Jwk:
    """Returns a key with these times, in whole seconds."""
    times: dict[str, int] = {"lifetime": int(schedule.lifetime.total_seconds())}
    if schedule.since is not None:
        times["from"] = int(schedule.since.timestamp())
    if schedule.until is not None:
        times["until"] = int(schedule.until.timestamp())
    return {**member, SCHEDULE: times}


def _time(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _no_schedule(member: Jwk, why: str) -> InvalidBundleError:
    return InvalidBundleError(
        f"failed to verify JWKS: {SCHEDULE!r} of key {member.get('kid', '')!r} cannot be read: {why}; remove it to "
        "restart the rotation of this key"
    )


def _unreadable(why: str) -> InvalidBundleError:
    return InvalidBundleError(f"failed to verify JWKS: failed to parse JWKS: {why}")


def _members(key: PublicKey) -> Jwk:
    members: Jwk = jose_key(key).as_dict(private=False)
    return {name: members[name] for name in _REQUIRED[members["kty"]]}


def jose_key(key: PublicKey | PrivateKey) -> Key:
    """Returns a key as joserfc's."""
    match key:
        case rsa.RSAPublicKey() | rsa.RSAPrivateKey():
            return RSAKey(key, key)
        case ec.EllipticCurvePublicKey() | ec.EllipticCurvePrivateKey():
            return ECKey(key, key)
        case ed25519.Ed25519PublicKey() | ed25519.Ed25519PrivateKey():
            return OKPKey(key, key)
        case _:
            assert_never(key)
