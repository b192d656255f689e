"""The JWTs of an answer as flat text fields."""

import base64
import json
import re
from datetime import timedelta
from typing import Any

from sentry_trio.proto.sentry_pb2 import SignCertificateResponse

from .comparing import Fields


def jwt_fields(response: SignCertificateResponse, skew: timedelta) -> Fields:
    """Headers and claims of all JWTs, with times relative to each other and random IDs by their form."""
    fields: dict[str, str] = {"audiences with a JWT": " ".join(sorted(response.per_audience_jwts))}
    tokens = {f"of {audience}": token.value for audience, token in response.per_audience_jwts.items()}
    if response.HasField("jwt"):
        tokens["for all"] = response.jwt.value
    for name, token in tokens.items():
        header, claims, signature = token.split(".")
        fields[f"JWT {name}: header"] = _decoded(header).decode()
        fields[f"JWT {name}: claims"] = _relative(json.loads(_decoded(claims)), skew)
        fields[f"JWT {name}: signature"] = f"{len(_decoded(signature))} bytes"
    return fields


def _relative(claims: dict[str, Any], skew: timedelta) -> str:
    issued = claims["iat"]
    shown = {name: value - issued if name in {"exp", "nbf", "iat"} else value for name, value in claims.items()}
    # The two reads of the clock may fall into two seconds.
    assert abs(shown["nbf"] + skew.total_seconds()) <= 1, claims
    shown["nbf"] = "iat minus the skew"
    if re.fullmatch("[0-9a-f]{32}", str(claims.get("jti"))):
        shown["jti"] = "128 bits in hexadecimal digits"
    return json.dumps(shown)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
