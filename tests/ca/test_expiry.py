"""Expiry of the certificates of a bundle."""

import datetime as dt

import pytest

from sentry_trio.ca.bundle import verify
from sentry_trio.ca.expiry import WARNING_PERIOD, ExpiryState, ValidityState, report
from testkit.ca.making import DAY, HOUR, NOW, certificate, new_key, sha256, stored

TICK = dt.timedelta(microseconds=1)


def state(remaining: dt.timedelta, role: str = "anchor") -> ExpiryState:
    return ExpiryState(role, "CN=root", "00", NOW + remaining, remaining)


@pytest.mark.parametrize(
    ("remaining", "expected", "days", "hours", "message"),
    [
        (-DAY, ValidityState.EXPIRED, 0, 0, "expiration warning: certificate has expired."),
        (-TICK, ValidityState.EXPIRED, 0, 0, "expiration warning: certificate has expired."),
        (0 * DAY, ValidityState.EXPIRING, 0, 0, "expiration warning: certificate expires in 0 days and 0 hours"),
        (HOUR - TICK, ValidityState.EXPIRING, 0, 0, "expiration warning: certificate expires in 0 days and 0 hours"),
        (25 * HOUR, ValidityState.EXPIRING, 1, 1, "expiration warning: certificate expires in 1 days and 1 hours"),
        (
            WARNING_PERIOD - TICK,
            ValidityState.EXPIRING,
            29,
            23,
            "expiration warning: certificate expires in 29 days and 23 hours",
        ),
        (WARNING_PERIOD, ValidityState.VALID, 30, 0, "is still valid for 720h0m0s"),
        (31 * DAY + HOUR / 4 + 5000 * TICK, ValidityState.VALID, 31, 0, "is still valid for 744h15m0.005s"),
        (365 * DAY - TICK, ValidityState.VALID, 364, 23, "is still valid for 8759h59m59.999999s"),
        (40 * DAY + dt.timedelta(seconds=10.5), ValidityState.VALID, 40, 0, "is still valid for 960h0m10.5s"),
    ],
)
def test_states(remaining: dt.timedelta, expected: ValidityState, days: int, hours: int, message: str) -> None:
    looked_at = state(remaining)
    assert (looked_at.state, looked_at.days, looked_at.hours) == (expected, days, hours)
    assert looked_at.message == f"Dapr root certificate {message}"


def test_a_message_names_the_role() -> None:
    assert state(-DAY, "issuer").message.startswith("Dapr issuer certificate expiration warning")
    assert state(99 * DAY, "intermediate").message.startswith("Dapr intermediate certificate is still valid")


def test_expired_bridges_and_former_roots_need_no_attention() -> None:
    assert not state(-DAY, "bridge").needs_attention
    assert not state(-DAY, "former").needs_attention
    assert state(-DAY, "anchor").needs_attention
    assert state(DAY, "issuer").needs_attention
    assert not state(WARNING_PERIOD, "issuer").needs_attention
    assert state(-DAY, "former").message == "Dapr former root certificate expiration warning: certificate has expired."


def test_roles_follow_the_roots_made_here() -> None:
    keys = [new_key() for _ in range(3)]
    roots = [certificate("r2", keys[1], not_before=NOW), certificate("r1", keys[0])]
    issuer = certificate("i", keys[2], "r2", keys[1])
    bundle = verify(stored(roots, [issuer], keys[2]), NOW)
    own = [sha256(each.der).hex() for each in roots]
    assert [each.role for each in report(bundle, NOW, own)] == ["anchor", "former", "issuer"]
    assert [each.role for each in report(bundle, NOW)] == ["anchor", "anchor", "issuer"]


def test_a_report_covers_every_certificate() -> None:
    keys = [new_key() for _ in range(4)]
    roots = [
        certificate("r1", keys[0], not_after=NOW + 400 * DAY),
        certificate("r2", keys[1], not_after=NOW - HOUR / 2),
    ]
    middle = certificate("m", keys[2], "r1", keys[0], not_after=NOW + 40 * DAY)
    issuer = certificate("i", keys[3], "m", keys[2], not_after=NOW + 2 * DAY)
    states = report(verify(stored(roots, [issuer, middle], keys[3]), NOW), NOW + HOUR)
    assert [(each.role, each.subject, each.state) for each in states] == [
        ("anchor", "CN=r1", ValidityState.VALID),
        ("anchor", "CN=r2", ValidityState.EXPIRED),
        ("issuer", "CN=i", ValidityState.EXPIRING),
        ("intermediate", "CN=m", ValidityState.VALID),
    ]
    assert [each.remaining for each in states] == [400 * DAY - HOUR, -1.5 * HOUR, 2 * DAY - HOUR, 40 * DAY - HOUR]
    assert states[2].not_after == NOW + 2 * DAY
    (fingerprint,) = {each.fingerprint for each in states if each.role == "issuer"}
    assert fingerprint == sha256(issuer.der).hex()
