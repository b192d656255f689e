"""Content of a call's line: nothing secret, and nothing without a bound."""

import json
from datetime import datetime, timedelta, timezone

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sentry_trio.audit.chain import MAX_LINE, START, encode_members, make_line, read_line
from sentry_trio.audit.decision import Decision, Recorder, bounded, format_address, timestamp
from sentry_trio.ca.csr import read_csr
from sentry_trio.ca.issue import Issuer, WorkloadIdentity
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.telemetry.metrics import SignFailure
from testkit.audit_chains import NOON
from testkit.authorities import SKEW, made_bundle, made_csr

PEER = ("10.0.0.7", 41234)
ASKED = SignCertificateRequest(
    id="cart",
    namespace="shop",
    trust_domain="example.org",
    token="secret-token",
    certificate_signing_request=b"secret-csr",
    token_validator=SignCertificateRequest.KUBERNETES,
    jwt_audiences=["secret-audience", "b"],
)


def test_a_certificate_that_was_issued() -> None:
    identity = SpiffeId.make("example.org", "shop", "cart")
    issued = Issuer(made_bundle(now=NOON)).issue(
        read_csr(made_csr()),
        WorkloadIdentity(identity),
        lifetime=timedelta(hours=1),
        allowed_clock_skew=SKEW,
        now=NOON,
    )
    decision = Decision(
        PEER,
        request_id="0123456789abcdef",
        request=ASKED,
        validator=SignCertificateRequest.KUBERNETES,
        pod_uid="uid-1",
        spiffe_id=identity,
        issued=issued,
        jwts=3,
    )
    assert decision.members() == {
        "event": "decision",
        "request": "0123456789abcdef",
        "caller": "10.0.0.7:41234",
        "asked": {
            "app_id": "cart",
            "namespace": "shop",
            "trust_domain": "example.org",
            "validator": "kubernetes",
            "jwt_audiences": 2,
        },
        "validator": "kubernetes",
        "pod_uid": "uid-1",
        "outcome": "issued",
        "cause": None,
        "spiffe_id": "spiffe://example.org/ns/shop/cart",
        "serial": f"{x509.load_der_x509_certificate(issued.der).serial_number:x}",
        "sha256": x509.load_der_x509_certificate(issued.der).fingerprint(hashes.SHA256()).hex(),
        "not_after": "2026-03-01T13:00:00.000000Z",
        "jwts": 3,
    }
    assert "secret" not in json.dumps(decision.members())


def test_a_request_that_could_not_be_read() -> None:
    said = Decision(PEER, cause=SignFailure.INVALID_REQUEST).members()
    assert (said["outcome"], said["cause"], said["asked"]) == ("not_issued", "invalid_request", None)
    given_nothing = {"validator", "pod_uid", "spiffe_id", "serial", "sha256", "not_after", "jwts"}
    assert {name for name, value in said.items() if value is None} == given_nothing | {"asked"}


ANY = st.text(st.characters(codec="utf-8")) | st.integers(0, 5000).map("\U0001f600".__mul__)


@pytest.mark.uncovered
@given(ANY, ANY, ANY, ANY, ANY, st.integers(-(2**31), 2**31 - 1), st.binary())
def test_no_line_is_longer_than_a_line_may_be(
    app_id: str, namespace: str, trust_domain: str, token: str, uid: str, kind: int, csr: bytes
) -> None:
    asked = SignCertificateRequest(
        id=app_id, namespace=namespace, trust_domain=trust_domain, token=token, certificate_signing_request=csr
    )
    asked.token_validator = kind  # type: ignore[assignment]  # any number may come over the wire
    spiffe_id = SpiffeId(trust_domain, namespace, app_id)
    decision = Decision((uid, 1), request=asked, validator=asked.token_validator, pod_uid=uid, spiffe_id=spiffe_id)
    line, _ = make_line(encode_members({"time": "2026-03-01T12:00:00Z", **decision.members()}), START)
    assert len(line) < MAX_LINE
    assert read_line(line[:-1]).members["asked"]["app_id"] == bounded(app_id)


def test_a_long_text_is_cut_and_named_by_its_hash() -> None:
    text = "é" * 201
    assert bounded(text[1:]) == text[1:]
    digest = "1d9ccf8d83fcf80aa0d0cbc8a8b8ad9a1a1f8c40ab0d3c6ae0e7d8ff6f7d8b37"
    assert bounded(text).startswith("é" * 200 + "... (402 bytes, SHA-256 ")
    assert len(bounded(text)) == 200 + len(f"... (402 bytes, SHA-256 {digest})")
    assert bounded(text) != bounded("é" * 200 + "e")


@pytest.mark.parametrize(
    ("peer", "shown"),
    [
        (PEER, "10.0.0.7:41234"),
        (("::1", 7, 0, 0), "[::1]:7"),
        (("::ffff:10.0.0.7", 7, 0, 0), "10.0.0.7:7"),
        (("fe80::1%eth0", 7, 0, 2), "[fe80::1%eth0]:7"),
        ("/run/socket", "/run/socket"),
        ((), "()"),
    ],
    ids=str,
)
def test_addresses(peer: object, shown: str) -> None:
    assert format_address(peer) == shown


def test_calls_are_counted_separately() -> None:
    ids = {Decision(PEER).request_id for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(each) for each in ids} == {16}


async def test_nothing_is_kept_where_no_log_is() -> None:
    recorder = Recorder()
    decision = Decision(PEER)
    before = replace(decision)
    recorder.record(decision)
    recorder.shed("queue_full")
    recorder.follow()
    # The certificate is sent without waiting.
    with trio.testing.assert_no_checkpoints():
        await recorder.commit(decision)
    assert decision == before


def test_times_are_in_utc() -> None:
    moment = datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(moment) == "2026-02-28T23:30:00.000000Z"
