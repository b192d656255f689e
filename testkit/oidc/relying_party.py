"""A relying party: it knows an issuer, an authority for TLS and its own name, and is shown a token.

As a cloud's workload identity federation does it, by PyJWT and the standard library, and with nothing of this project.
`python -m testkit.oidc.relying_party ISSUER CA_FILE AUDIENCE < token` prints the subject, or fails.
"""

import json
import ssl
import sys
import urllib.request
from urllib.parse import urlsplit

import jwt

# Section 3 of OpenID Connect Discovery 1.0, except for the authorization endpoint: there is no login.
REQUIRED: dict[str, type] = {
    "issuer": str,
    "jwks_uri": str,
    "response_types_supported": list,
    "subject_types_supported": list,
    "id_token_signing_alg_values_supported": list,
}
# By a key that the world may know; neither `none` nor by a shared secret.
SOUND = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}


def discovered(issuer: str, tls: ssl.SSLContext) -> dict[str, list[str]]:
    """The discovery document of an issuer, held to the rules.

    Raises:
        ValueError: it, or the issuer, breaks one.
        OSError: it cannot be had.
    """
    parts = urlsplit(issuer)
    if parts.scheme != "https" or not parts.hostname or "?" in issuer or "#" in issuer:
        raise ValueError(f"{issuer} is not an https URL without query and fragment")
    # Section 4.1: a slash at the end is taken off first.
    url = f"{issuer.removesuffix('/')}/.well-known/openid-configuration"
    with urllib.request.urlopen(url, context=tls, timeout=60) as response:
        if (response.status, response.headers.get_content_type()) != (200, "application/json"):
            raise ValueError(f"{url} is answered with status {response.status}, {response.headers['content-type']}")
        document = json.load(response)
    for name, kind in REQUIRED.items():
        if not isinstance(document.get(name), kind) or not document[name]:
            raise ValueError(f"{name} is missing or empty")
    if any(value == [] for value in document.values()):
        raise ValueError("section 4.2: what has no elements has to be left out")
    # Section 4.3: exactly the same.
    if document["issuer"] != issuer:
        raise ValueError(f"{issuer} says that it is {document['issuer']}")
    if urlsplit(document["jwks_uri"]).scheme != "https":
        raise ValueError(f"keys from {document['jwks_uri']} are not to be trusted")
    if not set(document["id_token_signing_alg_values_supported"]) <= SOUND:
        raise ValueError("there are algorithms that need no private key")
    return dict(document)


def verified(issuer: str, ca_file: str, audience: str, token: str) -> dict[str, object]:
    """The claims of a token that the issuer's published keys verify.

    Raises:
        ValueError: the discovery document breaks OpenID Connect Discovery 1.0.
        jwt.PyJWTError: the token is not the issuer's, not for this audience, or not valid now.
        OSError: discovery or keys cannot be had.
    """
    tls = ssl.create_default_context(cafile=ca_file)
    document = discovered(issuer, tls)
    keys = jwt.PyJWKClient(str(document["jwks_uri"]), ssl_context=tls)
    return jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token),
        algorithms=document["id_token_signing_alg_values_supported"],
        audience=audience,
        issuer=issuer,
        options={"require": ["exp", "iat", "sub", "aud", "iss"]},
    )


if __name__ == "__main__":
    print(verified(sys.argv[1], sys.argv[2], sys.argv[3], sys.stdin.read().strip())["sub"])
