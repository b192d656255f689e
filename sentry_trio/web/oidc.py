"""The HTTP app that tells the world how tokens are verified: OIDC discovery and the key set.

Where nothing but the client says what this server is called (no `--jwt-issuer`, no list of hosts), the document that
repeats it is for that client alone: a cache that handed it on to others would tell them of an issuer, and of a place of
keys, that somebody made up.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from typing import Final

import trio

from sentry_trio.ca.published import PublishedKeys
from sentry_trio.telemetry.metrics import Metrics, OidcPath
from sentry_trio.web.asgi import Receive, Scope, Send, answer, header_of
from sentry_trio.web.discovery import discovery_document
from sentry_trio.web.hosts import FORWARDED, Hosts, makes_url, may_stand_in_header
from sentry_trio.web.oidc_urls import DISCOVERY_PATH, JWKS_PATH, jwks_uri_of
from sentry_trio.web.target import Target, cleaned, segments, target_of

# Bytes of a body, which no request here needs, that are read and thrown away before the answer.
MAX_BODY_BYTES: Final = 64 * 1024
# Seconds for it.
BODY_TIMEOUT: Final = 5.0

_TEXT: Final = "text/plain; charset=utf-8"
_VERSIONS: Final = frozenset({"1.0", "1.1"})
_ENTITY_TAG: Final = re.compile(r'"[^"]*"')


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcRules:
    """What the answers are made by.

    Attributes:
        issuer: of the tokens; None to derive it from each request.
        jwks_uri: where the key set is said to be; None to derive it from the issuer.
        prefix: of both paths, percent-encoded; empty for none.
        hosts: which are answered for.
    """

    issuer: str | None
    jwks_uri: str | None
    prefix: str
    hosts: Hosts


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class OidcApp:
    """An ASGI app; answers as Dapr Sentry 1.18 does, HEAD, entity tags and what is said of caches apart.

    Args:
        rules: fixed for the life of the process.
        metrics: told of each answer.

    Attributes:
        keys: what is told at the next request; None while there is nothing to tell, which is answered with 404.
    """

    def __init__(self, rules: OidcRules, metrics: Metrics) -> None:
        self.keys: PublishedKeys | None = None
        self._rules = rules
        self._metrics = metrics
        self._paths = {
            segments(rules.prefix + DISCOVERY_PATH): OidcPath.DISCOVERY,
            segments(rules.prefix + JWKS_PATH): OidcPath.JWKS,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; see the class."""
        path = OidcPath.OTHER
        try:
            target = target_of(scope)
            path = self._paths.get(segments(target.path), OidcPath.OTHER)
            reply = await self._reply(scope, receive, target, path)
        except Exception:
            # The server logs it and answers so.
            self._metrics.oidc_answered(path, HTTPStatus.INTERNAL_SERVER_ERROR)
            raise
        self._metrics.oidc_answered(path, reply.status)
        await answer(send, reply.status, reply.body, headers=reply.headers)

    async def _reply(self, scope: Scope, receive: Receive, target: Target, path: OidcPath) -> _Reply:
        return await _refused_body(scope, receive) or self._refused(scope, target) or self._found(scope, target, path)

    def _refused(self, scope: Scope, target: Target) -> _Reply | None:
        """What Go's server and router say before a handler is asked."""
        if scope["http_version"] not in _VERSIONS:
            return _closing(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        if not may_stand_in_header(target.authority or header_of(scope, "host")):
            return _closing(HTTPStatus.BAD_REQUEST, ": malformed Host header")
        clean = cleaned(target.path)
        if target.path.startswith("/") and clean != target.path:
            return _moved(clean, scope["query_string"].decode("latin-1"))
        return None

    def _found(self, scope: Scope, target: Target, path: OidcPath) -> _Reply:
        if path is OidcPath.OTHER:
            return _error(HTTPStatus.NOT_FOUND, "404 page not found")
        host = self._rules.hosts.host_of(scope, target)
        if not self._rules.hosts.allows(host):
            return _error(HTTPStatus.FORBIDDEN, "Forbidden: unauthorized domain")
        if scope["method"] not in {"GET", "HEAD"}:
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, "Method not allowed", allow="GET, HEAD")
        keys = self.keys
        if path is OidcPath.JWKS:
            return _error(HTTPStatus.NOT_FOUND, "JWKS not available") if keys is None else _told(scope, keys, keys.jwks)
        if keys is None:
            return _error(HTTPStatus.NOT_FOUND, "OIDC configuration not available")
        return self._discovery(scope, target, host, keys)

    def _discovery(self, scope: Scope, target: Target, host: str, keys: PublishedKeys) -> _Reply:
        rules = self._rules
        headers = {}
        issuer = rules.issuer
        if issuer is None:
            # X-Forwarded-Host has not been checked yet, and `allows` disregards what follows the first colon.
            if not (may_stand_in_header(host) and makes_url(host)):
                return _error(HTTPStatus.BAD_REQUEST, "Invalid host")
            scheme = target.scheme if target.scheme in {"http", "https"} else scope["scheme"]
            issuer = f"{scheme}://{host}"
            if rules.hosts.is_open:
                headers["cache-control"] = "no-store"
            if rules.hosts.may_be_forwarded:
                headers["vary"] = FORWARDED
        jwks_uri = jwks_uri_of(issuer, rules.prefix) if rules.jwks_uri is None else rules.jwks_uri
        body = discovery_document(issuer=issuer, jwks_uri=jwks_uri, algorithm=keys.algorithm)
        return _told(scope, keys, body, **headers)


def _told(scope: Scope, keys: PublishedKeys, body: bytes, **headers: str) -> _Reply:
    etag = f'"{hashlib.sha256(body).hexdigest()}"'
    told = {"cache-control": f"public, max-age={int(keys.max_age.total_seconds())}", "etag": etag, **headers}
    known = header_of(scope, "if-none-match")
    # The comparison is the weak one, which disregards a leading W/ (RFC 9110, 13.1.2).
    if known.strip() == "*" or etag in _ENTITY_TAG.findall(known):
        return _Reply(HTTPStatus.NOT_MODIFIED, headers=told)
    return _Reply(HTTPStatus.OK, body, {"content-type": "application/json", **told})


def _error(status: HTTPStatus, text: str, **headers: str) -> _Reply:
    # What is refused or not there now may be answered a moment later, when the keys are there for one.
    fixed = {"content-type": _TEXT, "x-content-type-options": "nosniff", "cache-control": "no-store"}
    return _Reply(status, f"{text}\n".encode(), {**fixed, **headers})


def _closing(status: HTTPStatus, reason: str = "") -> _Reply:
    """As Go's server refuses what it does not take for a request of HTTP/1; see `web.http11`."""
    body = f"{status.value} {status.phrase}{reason}".encode()
    return _Reply(status, body, {"content-type": _TEXT, "connection": "close"})


def _moved(path: str, query: str) -> _Reply:
    location = f"{path}?{query}" if query else path
    body = f'<a href="{escape(location)}">Temporary Redirect</a>.\n\n'.encode()
    headers = {"location": location, "content-type": "text/html; charset=utf-8"}
    return _Reply(HTTPStatus.TEMPORARY_REDIRECT, body, headers)


async def _refused_body(scope: Scope, receive: Receive) -> _Reply | None:
    """Reads a body and throws it away: a connection on which an unread one is left cannot be used again."""
    if not header_of(scope, "transfer-encoding") and header_of(scope, "content-length") in {"", "0"}:
        return None
    left = MAX_BODY_BYTES
    with trio.move_on_after(BODY_TIMEOUT):
        while True:
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                return _closing(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            if not message.get("more_body", False):
                return None
    return _closing(HTTPStatus.REQUEST_TIMEOUT)
