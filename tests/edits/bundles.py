"""The good credentials, better ones, and the keys and certificates that bad ones are made of."""

from cryptography.hazmat.primitives.asymmetric import ec

from sentry_trio.ca.bundle import verify
from sentry_trio.ca.certificates import Certificate
from sentry_trio.ca.keys import PrivateKey
from testkit.authorities import wall_clock
from testkit.ca.making import DAY, HOUR, certificate, stored


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


NOW = wall_clock()
LONG_AGO = NOW - 30 * DAY
ROOT_KEY, ISSUER_KEY, OTHER_ROOT_KEY, OTHER_KEY = (new_key() for _ in range(4))


def root(key: PrivateKey = ROOT_KEY, **differences: object) -> Certificate:
    window = {"not_before": NOW - HOUR, "not_after": NOW + 30 * DAY}
    return certificate("root", key, **(window | differences))


def issuer(key: PrivateKey = ISSUER_KEY, root_key: PrivateKey = ROOT_KEY, **differences: object) -> Certificate:
    window = {"not_before": NOW - HOUR, "not_after": NOW + 30 * DAY}
    return certificate("issuer", key, "root", root_key, **(window | differences))


_ROOT = root()
GOOD = stored([_ROOT], [issuer()], ISSUER_KEY)
GOOD_FINGERPRINT = verify(GOOD, NOW).fingerprint
BETTER = stored([_ROOT], [issuer(OTHER_KEY)], OTHER_KEY)
