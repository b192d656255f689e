"""A relying party: it knows an issuer, an authority for TLS and its own name, and is shown a token.

As a cloud's workload identity federation does it, by PyJWT and the standard library.
`python -m tests.oidc.relying_party ISSUER CA_FILE AUDIENCE < token` prints the subject, or fails.
"""

import json
import ssl
import sys
import urllib.request

import jwt


def verified(issuer: str, ca_file: str, audience: str, token: str) -> dict[str, object]:
    """The claims of a token that the issuer's published keys verify.

    Raises:
        ValueError: the discovery document breaks OpenID Connect Discovery 1.0, 4.3.
        jwt.PyJWTError: the token is not the issuer's, not for this audience, or not valid now.
        OSError: discovery or keys cannot be had.
    """
    tls = ssl.create_default_context(cafile=ca_file)
    with urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration", context=tls, timeout=10) as response:
        document = json.load(response)
    if document["issuer"] != issuer:
        raise ValueError(f"{issuer} says that it is {document['issuer']}")
    if not document["jwks_uri"].startswith("https://"):
        raise ValueError(f"keys from {document['jwks_uri']} are not to be trusted")
    keys = jwt.PyJWKClient(document["jwks_uri"], ssl_context=tls)
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
