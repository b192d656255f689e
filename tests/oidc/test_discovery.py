"""The discovery document, against OpenID Connect Discovery 1.0, section 3."""

import json
from urllib.parse import urlsplit

import pytest

from sentry_trio.oidc.pages import discovery_document

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
# Required by section 3. No `authorization_endpoint` can be named, as there is no login here; Dapr Sentry 1.18 has none.
REQUIRED = {
    "issuer": str,
    "jwks_uri": str,
    "response_types_supported": list,
    "subject_types_supported": list,
    "id_token_signing_alg_values_supported": list,
}


def check_discovery(document: dict[str, object], issuer: str) -> None:
    """Requirements of a relying party."""
    for name, kind in REQUIRED.items():
        assert isinstance(document[name], kind), name
    assert document["issuer"] == issuer
    for uri in (document["issuer"], document["jwks_uri"]):
        parts = urlsplit(str(uri))
        assert (parts.scheme, bool(parts.hostname), parts.query, parts.fragment) == ("https", True, "", "")
    assert document["response_types_supported"] == ["id_token"]
    assert document["subject_types_supported"] == ["public"]
    assert isinstance(document["scopes_supported"], list)
    assert "openid" in document["scopes_supported"]
    (algorithm,) = list(document["id_token_signing_alg_values_supported"])  # type: ignore[call-overload]
    assert algorithm in ALGORITHMS  # never `none`


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_keeps_the_rules(algorithm: str) -> None:
    document = discovery_document(issuer="https://iss", jwks_uri="https://iss/jwks.json", algorithm=algorithm)
    check_discovery(json.loads(document), "https://iss")


def test_it_is_dapr_sentrys_byte_for_byte() -> None:
    assert discovery_document(issuer="https://iss/\u00e4", jwks_uri="j", algorithm="RS256") == (
        b'{"issuer":"https://iss/\\u00e4","jwks_uri":"j","response_types_supported":["id_token"],'
        b'"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["RS256"],'
        b'"scopes_supported":["openid"],"claims_supported":["sub","iss","aud","exp","iat","nbf","use"]}\n'
    )
