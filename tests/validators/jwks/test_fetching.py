"""One GET, against real servers."""

import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import trustme

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.http_client import Answer
from sentry_trio.validators.jwks.fetching import (
    MOST_BYTES,
    REDIRECTS,
    fetch,
    make_context,
    without_credentials,
)
from sentry_trio.validators.jwks.keyset import SourceError
from testkit.jwks_server import Respond, answer, served

CA = trustme.CA()
PEM = CA.cert_pem.bytes().decode()


async def got(url: str, *, ca: str = PEM, seconds: float = 20) -> Answer:
    return await fetch(url, make_context(ca), timeout=seconds)


async def failure(url: str, *, ca: str = PEM, seconds: float = 20) -> str:
    with pytest.raises(SourceError, match=r"^failed to fetch JWKS: ") as caught:
        await got(url, ca=ca, seconds=seconds)
    return str(caught.value)


async def test_an_answer(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(PEM)
    with served(answer(200, b"{}", Cache_Control="max-age=5"), ca=CA) as url:
        for ca in (PEM, str(tmp_path / "ca.pem")):
            found = await got(f"{url}/keys#x", ca=ca)
            assert (found.body, found.headers["cache-control"]) == (b"{}", "max-age=5")


async def test_a_named_authority_is_trusted_even_if_it_is_not_a_root() -> None:
    intermediate = CA.create_child_ca()
    with served(answer(200, b"{}"), ca=intermediate) as url:
        assert (await got(url, ca=intermediate.cert_pem.bytes().decode())).body == b"{}"


async def test_other_authorities_are_not_trusted() -> None:
    with served(answer(200, b"{}"), ca=CA) as url:
        assert "CERTIFICATE_VERIFY_FAILED" in await failure(url, ca=trustme.CA().cert_pem.bytes().decode())
        assert "CERTIFICATE_VERIFY_FAILED" in await failure(url, ca="")


async def test_a_named_authority_replaces_those_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CA.cert_pem.write_to_path(tmp_path / "system.pem")
    # OpenSSL takes the system's from there.
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    with served(answer(200, b"{}"), ca=CA) as url:
        assert (await got(url, ca="")).body == b"{}"
        assert "CERTIFICATE_VERIFY_FAILED" in await failure(url, ca=trustme.CA().cert_pem.bytes().decode())


@pytest.mark.parametrize("status", [204, 304, 404, 500])
async def test_other_statuses(status: int) -> None:
    with served(answer(status)) as url:
        assert await failure(url) == f"failed to fetch JWKS: status {status}"


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with served(answer(200, b"{}")) as url:
        assert (await got(url)).body == b"{}"


async def test_redirects_are_followed_in_bounds() -> None:
    asked = []

    def redirect(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        here = int(handler.path[1:])
        answer(302, Location=f"/{here - 1}")(handler) if here else answer(200, b"{}")(handler)

    with served(redirect) as url:
        assert (await got(f"{url}/{REDIRECTS}")).body == b"{}"
        assert len(asked) == REDIRECTS + 1
        assert await failure(f"{url}/{REDIRECTS + 1}") == f"failed to fetch JWKS: more than {REDIRECTS} redirects"


async def test_no_redirect_leads_away_from_tls() -> None:
    with served(answer(200, b"{}")) as plain, served(answer(301, Location=plain), ca=CA) as url:
        assert "from https to another scheme" in await failure(url)
    with served(answer(200, b"{}"), ca=CA) as secure, served(answer(301, Location=secure)) as url:
        assert (await got(url)).body == b"{}"


async def test_credentials_in_the_url_are_shown_to_its_host_and_to_no_other() -> None:
    shown = []

    def redirect(to: str) -> Respond:
        def respond(handler: BaseHTTPRequestHandler) -> None:
            shown.append((handler.path, handler.headers["authorization"]))
            answer(302, Location=to)(handler) if to and handler.path == "/x" else answer(200, b"{}")(handler)

        return respond

    with served(redirect("")) as other, served(redirect("/y")) as same, served(redirect(f"{other}/z")) as away:
        for url in (same, away):
            assert (await got(url.replace("://", "://m%40e:p%3Aw@") + "/x#y")).body == b"{}"
        basic = f"Basic {b64encode(b'm@e:p:w').decode()}"
        assert shown == [("/x", basic), ("/y", basic), ("/x", basic), ("/z", None)]


@pytest.mark.parametrize(
    ("url", "logged"),
    [
        ("https://h:1/keys?a=b", "https://h:1/keys?a=b"),
        ("https://me:secret@h:1/keys", "https://h:1/keys"),
        ("https://me@h", "https://h"),
        ("https://me:se@cret@h", "https://h"),
        ("https://me:secret@[h", "[h"),
    ],
)
def test_credentials_are_not_logged(url: str, logged: str) -> None:
    assert without_credentials(url) == logged


async def test_size_is_bounded() -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b" " * 65536)

    with served(endless) as url:
        assert await failure(url) == f"failed to fetch JWKS: more than {MOST_BYTES} bytes"
    with served(answer(200, b" " * MOST_BYTES)) as url:
        assert len((await got(url)).body) == MOST_BYTES


async def test_time_is_bounded_as_a_whole() -> None:
    ended = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not ended.wait(0.01):
            handler.wfile.write(b" ")

    with served(slow) as url:
        assert await failure(url, seconds=0.2) == "failed to fetch JWKS: no answer within 0.2 s"
        ended.set()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://", "http://[", "http://x:99999/", "http://\u00fc/"])
async def test_an_unreachable_peer(url: str) -> None:
    assert await failure(url)


async def test_no_http() -> None:
    with served(answer(301, Location="ftp://127.0.0.1/")) as url:
        assert await failure(url)


def test_a_file_of_authorities_is_read_in_bounds(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("#\n" * 1000 + PEM)
    make_context(str(path))
    path.write_text("#\n" * (1 << 19) + PEM)
    with pytest.raises(InvalidConfigurationError, match=r"^failed to add root certificate to certificate pool$"):
        make_context(str(path))


@pytest.mark.parametrize(
    ("ca", "error"),
    [
        ("/nowhere", "failed to load CA certificate: "),
        ("a\0b", "failed to load CA certificate: "),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "failed to add root certificate to cert"),
        ("-----BEGIN nothing", "failed to add root certificate to certificate pool"),
    ],
)
def test_bad_authorities(ca: str, error: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=f"^{error}"):
        make_context(ca)
