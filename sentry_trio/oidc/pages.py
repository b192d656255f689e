"""Handler of OIDC discovery and the key set.

If clients choose what this server is called (no `--jwt-issuer`, no list of hosts), the discovery document repeats their
choice and must not be cached: a cache would serve others an issuer, and a URL of keys, that an attacker made up.
"""

import hashlib
import json
from html import escape
from http import HTTPStatus

import msgspec

from sentry_trio.ca.published import PublishedKeys
from sentry_trio.oidc.hosts import FORWARDED, Hosts, is_valid_header, is_valid_in_url
from sentry_trio.oidc.urls import DISCOVERY_PATH, JWKS_PATH, cleaned, jwks_uri_of, segments
from sentry_trio.telemetry.metrics import Metrics, OidcPath
from sentry_trio.web.messages import Request, Response, refusal


class OidcRules(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration of the answers.

    Attributes:
        issuer: issuer of the tokens; None to derive it from each request.
        jwks_uri: URL of the key set; None to derive it from the issuer.
        prefix: prefix of both paths, percent-encoded; empty for none.
        hosts: those that are served.
    """

    issuer: str | None
    jwks_uri: str | None
    prefix: str
    hosts: Hosts


class OidcPages:
    """Answers as Dapr Sentry 1.18 does, except for HEAD, entity tags and cache control.

    Args:
        rules: fixed for the life of the process.
        metrics: counts the answers.

    Attributes:
        keys: served from the next request on; None, which is answered with 404, if there are none.
    """

    def __init__(self, rules: OidcRules, metrics: Metrics) -> None:
        self.keys: PublishedKeys | None = None
        self._rules = rules
        self._metrics = metrics
        self._paths = {
            segments(rules.prefix + DISCOVERY_PATH): OidcPath.DISCOVERY,
            segments(rules.prefix + JWKS_PATH): OidcPath.JWKS,
        }
        # Length of the longer path with every character percent-encoded: no longer one leads to a document, and its
        # segments or its redirect could take milliseconds.
        self._longest = 3 * len(rules.prefix + DISCOVERY_PATH)

    async def answer(self, request: Request) -> Response:
        """Answers one request; see the class."""
        is_long = len(request.path) > self._longest
        path = OidcPath.OTHER if is_long else self._paths.get(segments(request.path), OidcPath.OTHER)
        try:
            response = self._refused(request, is_long=is_long) or self._found(request, path)
        except Exception:
            # The server logs it and answers 500.
            self._metrics.oidc_answered(path, HTTPStatus.INTERNAL_SERVER_ERROR)
            raise
        self._metrics.oidc_answered(path, response.status)
        return response

    def _refused(self, request: Request, *, is_long: bool) -> Response | None:
        """Returns the answer of Go's server and router, if they do not call a handler."""
        if not is_valid_header(request.authority or request.header("host")):
            return refusal(HTTPStatus.BAD_REQUEST, ": malformed Host header")
        if request.path.startswith("/") and not is_long and (clean := cleaned(request.path)) != request.path:
            return _redirect(clean, request.query)
        return None

    def _found(self, request: Request, path: OidcPath) -> Response:
        if path is OidcPath.OTHER:
            return _error(HTTPStatus.NOT_FOUND, "404 page not found")
        host = self._rules.hosts.host_of(request)
        if not self._rules.hosts.allows(host):
            return _error(HTTPStatus.FORBIDDEN, "Forbidden: unauthorized domain")
        if request.method not in {"GET", "HEAD"}:
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, "Method not allowed", allow="GET, HEAD")
        keys = self.keys
        if path is OidcPath.JWKS:
            missing = _error(HTTPStatus.NOT_FOUND, "JWKS not available")
            return missing if keys is None else _document(request, keys, keys.jwks)
        if keys is None:
            return _error(HTTPStatus.NOT_FOUND, "OIDC configuration not available")
        return self._discovery(request, host, keys)

    def _discovery(self, request: Request, host: str, keys: PublishedKeys) -> Response:
        rules = self._rules
        headers = {}
        issuer = rules.issuer
        if issuer is None:
            # X-Forwarded-Host has not been checked yet, and `allows` disregards what follows the first colon.
            if not (is_valid_header(host) and is_valid_in_url(host)):
                return _error(HTTPStatus.BAD_REQUEST, "Invalid host")
            issuer = f"{request.scheme}://{host}"
            if rules.hosts.is_open:
                headers["cache-control"] = "no-store"
            if rules.hosts.may_be_forwarded:
                headers["vary"] = FORWARDED
        jwks_uri = jwks_uri_of(issuer, rules.prefix) if rules.jwks_uri is None else rules.jwks_uri
        body = discovery_document(issuer=issuer, jwks_uri=jwks_uri, algorithm=keys.algorithm)
        return _document(request, keys, body, **headers)


def discovery_document(*, issuer: str, jwks_uri: str, algorithm: str) -> bytes:
    """Returns the document (OpenID Connect Discovery 1.0, section 3) as Dapr Sentry 1.18 writes it.

    That is compact JSON with a line break, its members in this order. There is no authorization endpoint, as tokens are
    issued over gRPC.

    Args:
        issuer: `iss` of the tokens.
        jwks_uri: URL of the key set.
        algorithm: JWS algorithm of the tokens.
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


def _document(request: Request, keys: PublishedKeys, body: bytes, **headers: str) -> Response:
    etag = f'"{hashlib.sha256(body).hexdigest()}"'
    common = {"cache-control": f"public, max-age={int(keys.max_age.total_seconds())}", "etag": etag, **headers}
    known = request.header("if-none-match")
    # The comparison is the weak one, which disregards a leading W/ (RFC 9110, 13.1.2). No tag contains a quote.
    if known.strip() == "*" or etag in known:
        return Response(HTTPStatus.NOT_MODIFIED, headers=common)
    return Response(HTTPStatus.OK, body, {"content-type": "application/json", **common})


def _error(status: HTTPStatus, text: str, **headers: str) -> Response:
    # The next request may succeed, e.g. if keys have been published: not to be cached.
    fixed = {
        "content-type": "text/plain; charset=utf-8",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
    return Response(status, f"{text}\n".encode(), {**fixed, **headers})


def _redirect(path: str, query: str) -> Response:
    location = f"{path}?{query}" if query else path
    body = f'<a href="{escape(location)}">Temporary Redirect</a>.\n\n'.encode()
    headers = {"location": location, "content-type": "text/html; charset=utf-8"}
    return Response(HTTPStatus.TEMPORARY_REDIRECT, body, headers)
