"""The serving certificate: its content, its key, and its renewal at half life."""

from datetime import UTC, datetime, timedelta

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from sentry_trio.ca.issue import IssuedCertificate, Issuer
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.conditions import Condition, Conditions
from sentry_trio.errors import SigningError
from sentry_trio.identity import ServingIdentity
from sentry_trio.telemetry.metrics import Metrics
from testkit.authorities import SKEW, made_bundle, wall_clock
from testkit.ca.making import parsed
from testkit.log_capture import capture_logs
from testkit.scraping import value

ID = SpiffeId.make("localhost", "default", "dapr-sentry")


def failing() -> Condition:
    return Conditions().condition("serving-certificate")


class Clock:
    """A wall clock that goes with Trio's, and can be set."""

    def __init__(self) -> None:
        self._start = wall_clock() - timedelta(seconds=trio.current_time())

    def __call__(self) -> datetime:
        return self._start + timedelta(seconds=trio.current_time())

    def set_by(self, difference: timedelta) -> None:
        self._start += difference


def identity(issuer: Issuer, clock: Clock) -> ServingIdentity:
    return ServingIdentity(issuer, ID, lifetime=timedelta(hours=24), allowed_clock_skew=SKEW, now=clock)


@pytest.mark.parametrize(
    ("key_type", "key"),
    [
        (KeyType.P256, ec.EllipticCurvePublicKey),
        (KeyType.P384, ec.EllipticCurvePublicKey),
        (KeyType.RSA2048, ec.EllipticCurvePublicKey),
        (KeyType.ED25519, ed25519.Ed25519PublicKey),
    ],
)
async def test_it_is_the_authority_itself(key_type: KeyType, key: type) -> None:
    shown = identity(Issuer(made_bundle(key_type)), Clock()).certificate
    names = parsed(shown).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["spiffe://localhost/ns/default/dapr-sentry"]
    public_key = parsed(shown).public_key()
    assert isinstance(public_key, key)
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        assert public_key.curve.name == "secp256r1"


async def test_it_is_renewed_at_half_life(autojump_clock: trio.testing.MockClock) -> None:
    serving = identity(Issuer(made_bundle()), Clock())
    first, context = serving.certificate, serving.context
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serving.keep_fresh(metrics=Metrics(), failing=failing()))
        half = timedelta(hours=11, minutes=52, seconds=30).total_seconds()
        await trio.sleep(half - 1)
        assert serving.certificate is first
        await trio.sleep(2)
        assert serving.certificate is not first
        assert serving.context is not context
        assert parsed(serving.certificate).public_key() != parsed(first).public_key()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seconds", [2, 4, 8, 16, 60])
async def test_a_short_certificate_never_expires(autojump_clock: trio.testing.MockClock, seconds: int) -> None:
    """It is renewed before, but not more than once a second."""
    lifetime = timedelta(seconds=seconds)
    serving = ServingIdentity(Issuer(made_bundle()), ID, lifetime=lifetime, allowed_clock_skew=timedelta(), now=Clock())
    shown = {serving.certificate.der}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serving.keep_fresh(metrics=Metrics(), failing=failing()))
        for _ in range(10 * 4 * seconds):
            await trio.sleep(0.1)
            assert serving.is_valid()
            shown.add(serving.certificate.der)
        nursery.cancel_scope.cancel()
    assert 6 <= len(shown) <= 4 * seconds + 1


class Failing(Issuer):
    """Fails for a while after the first."""

    calls = 0

    def issue(self, *args, **keywords) -> IssuedCertificate:  # type: ignore[no-untyped-def]
        self.calls += 1
        if 1 < self.calls < 5:
            raise SigningError("not now")
        return super().issue(*args, **keywords)


async def test_a_failed_renewal_is_tried_again_every_10_s(autojump_clock: trio.testing.MockClock) -> None:
    issuer, metrics = Failing(made_bundle()), Metrics()
    serving = identity(issuer, Clock())
    first = serving.certificate
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serving.keep_fresh(metrics=metrics, failing=failing()))
        await trio.sleep(timedelta(hours=11, minutes=52, seconds=30).total_seconds() + 29)
        assert (serving.certificate is first, issuer.calls) == (True, 4)
        await trio.sleep(2)
        assert (serving.certificate is first, issuer.calls) == (False, 5)
        nursery.cancel_scope.cancel()
    failed = 'dapr_sentry_servercert_issue_failed_total{reason="signing"} 3.0'
    assert failed in metrics.exposition()[0].decode()


async def test_near_its_issuer_s_end_it_is_not_renewed_all_the_time(autojump_clock: trio.testing.MockClock) -> None:
    clock = Clock()
    bundle = made_bundle(now=clock(), lifetime=timedelta(minutes=8))

    class Counting(Issuer):
        calls = 0

        def issue(self, *args, **keywords) -> IssuedCertificate:  # type: ignore[no-untyped-def]
            Counting.calls += 1
            return super().issue(*args, **keywords)

    serving = identity(Counting(bundle), clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serving.keep_fresh(metrics=Metrics(), failing=failing()))
        await trio.sleep(470)
        assert serving.certificate.not_after == bundle.not_after
        assert 3 < Counting.calls < 15
        nursery.cancel_scope.cancel()


async def test_after_the_issuers_end_the_certificate_stays(autojump_clock: trio.testing.MockClock) -> None:
    clock, metrics, conditions = Clock(), Metrics(), Conditions()
    condition = conditions.condition("serving-certificate")
    serving = identity(Issuer(made_bundle(now=clock(), lifetime=timedelta(minutes=1))), clock)
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serving.keep_fresh(metrics=metrics, failing=condition))
            await trio.sleep(58)
            shown = serving.certificate
            assert serving.is_valid()
            assert conditions.summary is None
            await trio.sleep(62)
            assert serving.certificate is shown
            assert not serving.is_valid()
            assert "the serving certificate cannot be renewed: the issuer certificate" in str(condition.message)
            nursery.cancel_scope.cancel()
    # Several attempts, one line; and a run that has ended reports nothing.
    assert value(metrics, "dapr_sentry_servercert_issue_failed_total", reason="issuer_not_valid") >= 5
    assert [line["log_level"] for line in lines if "has expired" in str(line["event"])].count("error") == 1
    assert conditions.summary is None


@pytest.mark.parametrize("ahead", [timedelta(hours=10), timedelta(days=400)], ids=["hours", "days"])
async def test_it_is_renewed_once_the_clock_has_been_set_back(
    ahead: timedelta, autojump_clock: trio.testing.MockClock
) -> None:
    """As on a machine whose clock is wrong until NTP sets it."""
    clock, metrics = Clock(), Metrics()
    bundle = made_bundle(now=clock(), lifetime=timedelta(days=500))
    clock.set_by(ahead)
    serving = identity(Issuer(bundle), clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serving.keep_fresh(metrics=metrics, failing=failing()))
        await trio.sleep(60)
        first = serving.certificate
        clock.set_by(-ahead)
        assert not serving.is_valid()
        await trio.sleep(10.5)
        assert serving.is_valid()
        assert serving.certificate.not_before < clock() < serving.certificate.not_after
        renewed = serving.certificate
        assert renewed is not first
        # Its half life is computed from the correct time.
        await trio.sleep(timedelta(hours=11, minutes=52).total_seconds() - 60)
        assert serving.certificate is renewed
        await trio.sleep(120)
        assert serving.certificate is not renewed
        nursery.cancel_scope.cancel()


async def test_a_clock_within_the_skew_renews_nothing(autojump_clock: trio.testing.MockClock) -> None:
    clock = Clock()
    serving = identity(Issuer(made_bundle(now=clock() - timedelta(days=1))), clock)
    first = serving.certificate
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serving.keep_fresh(metrics=Metrics(), failing=failing()))
        clock.set_by(-SKEW + timedelta(seconds=30))
        await trio.sleep(20)
        assert serving.is_valid()
        assert serving.certificate is first
        nursery.cancel_scope.cancel()


async def test_an_issuer_that_is_not_valid_either_is_tried_until_it_is(autojump_clock: trio.testing.MockClock) -> None:
    clock, metrics = Clock(), Metrics()
    ahead = timedelta(hours=1)
    clock.set_by(ahead)
    serving = identity(Issuer(made_bundle(now=clock())), clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serving.keep_fresh(metrics=metrics, failing=failing()))
        clock.set_by(-ahead)
        await trio.sleep(60)
        assert not serving.is_valid()
        failed = value(metrics, "dapr_sentry_servercert_issue_failed_total", reason="issuer_not_valid")
        assert 5 <= failed <= 7
        await trio.sleep((ahead - SKEW).total_seconds() + 0.5)
        assert serving.is_valid()
        nursery.cancel_scope.cancel()


async def test_the_end_of_the_calendar_ends_no_process() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    issuer = Issuer(made_bundle(now=last - timedelta(days=1), lifetime=timedelta(days=1)))

    def at(moment: datetime, lifetime: timedelta) -> ServingIdentity:
        return ServingIdentity(issuer, ID, lifetime=lifetime, allowed_clock_skew=SKEW, now=lambda: moment)

    with pytest.raises(SigningError, match="date value out of range"):
        at(last - timedelta(hours=1), timedelta(hours=24))
    # It would be renewed after the last second.
    assert at(last - timedelta(seconds=5), timedelta(seconds=3)).is_valid()
