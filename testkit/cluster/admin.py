"""The administrator's client: blocking, small, and none of the code under test."""

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

Manifest = dict[str, Any]


class RefusedError(AssertionError):
    """The API server did not do a request of the administrator."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class Admin:
    """Asks an API server with a bearer token.

    Args:
        url: of the API server.
        authority: file of the certificates that its own must verify against.
        token: authenticates the client.
    """

    def __init__(self, url: str, authority: Path, token: str) -> None:
        self._url = url
        self._token = token
        context = ssl.create_default_context(cafile=str(authority))
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def request(self, method: str, path: str, body: Manifest | None = None, *, kind: str = "json") -> Manifest:
        """One request and its answer.

        Args:
            method: of HTTP.
            path: with its query.
            body: sent as JSON.
            kind: of the body, e.g. `merge-patch+json`.

        Raises:
            RefusedError: any answer but a 2xx.
            OSError: the server cannot be reached.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": f"application/{kind}"}
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        try:
            with self._opener.open(request, timeout=60) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(error.code, error.read().decode()) from error
        return json.loads(text) if text.startswith("{") else {"text": text}
