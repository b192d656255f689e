"""Bounds on a SignCertificateRequest, checked on its bytes before they are parsed.

A parsed request is in memory while a validator waits, and can take many times its size on the wire: 4 MiB hold two
million empty audiences. A scan of the fields that stops at the first one out of bounds is cheap.
"""

from typing import Final

import msgspec

from sentry_trio.errors import InvalidRequestError
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest

REQUEST_BYTES: Final = 64 * 1024
"""Bytes of the whole request, unknown fields included."""
REQUEST_FIELDS: Final = 64
"""Fields in the request, each value of a repeated one counted."""


class Bound(msgspec.Struct, frozen=True):
    """Bound on one field.

    Attributes:
        name: the field's.
        most_bytes: largest size of a value.
        most_values: in one request. A field that is not repeated may occur more than once; the last one counts.
    """

    name: str
    most_bytes: int
    most_values: int = REQUEST_FIELDS


# Validators have tighter bounds, with Dapr's texts: at most 64 bytes for an app ID, for example.
BOUNDS: Final = (
    Bound("id", 256),
    Bound("token", 16 * 1024),
    Bound("trust_domain", 2048),  # the longest SPIFFE ID; any ID within the trust domain may be given
    Bound("namespace", 256),
    Bound("certificate_signing_request", 16 * 1024),
    Bound("jwt_audiences", 1024, most_values=16),  # each takes a signature
)
_BY_NUMBER: Final = {SignCertificateRequest.DESCRIPTOR.fields_by_name[each.name].number: each for each in BOUNDS}

# Wire types of the protobuf encoding. The two of groups have no value: a group's fields are counted like all others.
_VARINT: Final = 0
_FIXED = {1: 8, 5: 4}
_DELIMITED: Final = 2
_LONGEST_VARINT: Final = 10


class BoundedRequest:
    """Request type of the SignCertificate handler: parses requests that are within bounds."""

    @staticmethod
    def FromString(data: bytes) -> SignCertificateRequest:  # noqa: N802  # protobuf's name
        """Parses a request.

        Raises:
            InvalidRequestError: a bound is exceeded; see `check_bounds`.
            google.protobuf.message.DecodeError: the bytes are not a request.
        """
        check_bounds(data)
        return SignCertificateRequest.FromString(data)


def check_bounds(data: bytes) -> None:
    """Checks the size and the number of a serialized request's fields.

    Malformed bytes pass: the parser rejects them, and everything before the fault is within bounds.

    Raises:
        InvalidRequestError: the first bound that is exceeded: the field, its size, and the limit.
    """
    values = dict.fromkeys(_BY_NUMBER, 0)
    position = fields = 0
    while position < len(data):
        fields += 1
        if fields > REQUEST_FIELDS:
            raise InvalidRequestError(f"the request has more than {REQUEST_FIELDS} fields")
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _DELIMITED:
            size, position = _varint(data, position)
            position += size
            if bound := _BY_NUMBER.get(number):
                values[number] += 1
                _check(bound, size, values[number])
        elif wire_type == _VARINT:
            _, position = _varint(data, position)
        else:
            position += _FIXED.get(wire_type, 0)
    if len(data) > REQUEST_BYTES:
        raise InvalidRequestError(f"the request has {len(data)} bytes; at most {REQUEST_BYTES} are accepted")


def _check(bound: Bound, size: int, values: int) -> None:
    if size > bound.most_bytes:
        raise InvalidRequestError(f"{bound.name} has {size} bytes; at most {bound.most_bytes} are accepted")
    if values > bound.most_values:
        raise InvalidRequestError(f"{bound.name} has more than {bound.most_values} values")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Reads a base-128 number; returns it and the position after it, the end of the data if it is malformed."""
    value = shift = 0
    while position < len(data) and shift < _LONGEST_VARINT * 7:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    return 0, len(data)
