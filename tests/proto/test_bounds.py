"""Bounds on requests: number and bytes of every field, checked before parsing."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.errors import InvalidRequestError
from sentry_trio.proto.bounds import BOUNDS, REQUEST_BYTES, REQUEST_FIELDS, Bound, BoundedRequest
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest

BYTES, REPEATED = "certificate_signing_request", "jwt_audiences"


def with_field(bound: Bound, size: int, values: int = 1) -> SignCertificateRequest:
    value = b"x" * size if bound.name == BYTES else "x" * size
    fields: dict[str, Any] = {bound.name: [value] * values if bound.name == REPEATED else value}
    return SignCertificateRequest(**fields)


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        BoundedRequest.FromString(data)
    return str(caught.value)


def test_every_field_with_a_size_of_its_own_has_a_bound() -> None:
    fields = SignCertificateRequest.DESCRIPTOR.fields
    assert {each.name for each in fields if each.type in {each.TYPE_STRING, each.TYPE_BYTES}} == {
        bound.name for bound in BOUNDS
    }


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.name)
def test_a_field_may_be_as_long_as_its_bound(bound: Bound) -> None:
    request = with_field(bound, bound.most_bytes, min(bound.most_values, 16))
    assert BoundedRequest.FromString(request.SerializeToString()) == request
    refused = refusal(with_field(bound, bound.most_bytes + 1).SerializeToString())
    assert refused == f"{bound.name} has {bound.most_bytes + 1} bytes; at most {bound.most_bytes} are accepted"


def test_all_fields_at_their_bounds_are_a_request() -> None:
    request = SignCertificateRequest(token_validator=SignCertificateRequest.JWKS)
    for bound in BOUNDS:
        request.MergeFrom(with_field(bound, bound.most_bytes, 16))
    assert BoundedRequest.FromString(request.SerializeToString()) == request


@pytest.mark.parametrize("audience", ["", "a"])
def test_audiences_are_bounded_in_number(audience: str, monkeypatch: pytest.MonkeyPatch) -> None:
    request = SignCertificateRequest(jwt_audiences=[audience] * 16)
    assert BoundedRequest.FromString(request.SerializeToString()) == request
    flood = b"\x3a\x00" * 2_000_000 if not audience else b"\x3a\x01a" * 1_000_000
    # Nothing out of bounds reaches the parser.
    monkeypatch.setattr("sentry_trio.proto.bounds.SignCertificateRequest", None)
    assert refusal(flood) == "jwt_audiences has more than 16 values"


# Field 1, a string of one byte; field 100 as a varint, fixed in 8 bytes, in 4 bytes, and as a group.
@pytest.mark.parametrize(
    "field", [b"\x0a\x01x", b"\xa0\x06\x01", b"\xa1\x06" + bytes(8), b"\xa5\x06" + bytes(4), b"\xa3\x06\xa4\x06"]
)
def test_the_number_of_fields_of_any_kind_is_bounded(field: bytes) -> None:
    fields_in_one = 2 if field == b"\xa3\x06\xa4\x06" else 1
    most = REQUEST_FIELDS // fields_in_one
    assert BoundedRequest.FromString(field * most).SerializeToString()
    assert refusal(field * (most + 1)) == f"the request has more than {REQUEST_FIELDS} fields"


def test_unknown_fields_are_bounded_with_the_request() -> None:
    unknown = b"\xa2\x06\x80\x80\x04" + bytes(REQUEST_BYTES)
    assert refusal(unknown) == f"the request has {len(unknown)} bytes; at most {REQUEST_BYTES} are accepted"


def test_a_group_hides_nothing() -> None:
    audiences = b"\x3a\x00" * 17
    assert refusal(b"\xa3\x06" + audiences + b"\xa4\x06") == "jwt_audiences has more than 16 values"


@given(
    st.one_of(
        st.binary(max_size=200), st.lists(st.sampled_from([b"\x3a\x02aa", b"\x0a\x80\x02", b"\xff"])).map(b"".join)
    )
)
def test_parsed_requests_are_within_bounds(data: bytes) -> None:
    try:
        request = BoundedRequest.FromString(data)
    except (InvalidRequestError, DecodeError):
        return
    for bound in BOUNDS:
        field = getattr(request, bound.name)
        values = field if bound.name == REPEATED else [field]
        assert len(values) <= bound.most_values
        assert all(len(value if isinstance(value, bytes) else value.encode()) <= bound.most_bytes for value in values)
