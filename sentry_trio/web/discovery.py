"""The discovery document of OpenID Connect Discovery 1.0, section 3."""

import json


def discovery_document(*, issuer: str, jwks_uri: str, algorithm: str) -> bytes:
    """The document as Dapr Sentry 1.18 writes it: compact JSON with a line break, its members in this order.

    No authorization endpoint is named: tokens are issued over gRPC and nobody is sent anywhere to log in. Of the
    algorithms the one that tokens are signed with is told, RS256 or another.

    Args:
        issuer: what `iss` is in tokens.
        jwks_uri: where the key set is.
        algorithm: of JWS, by which tokens are signed.
    """
    document = {
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [algorithm],
        "scopes_supported": ["openid"],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nbf", "use"],
    }
    return f"{json.dumps(document, separators=(',', ':'))}\n".encode()
