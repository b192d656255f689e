"""Sources of a key set, and errors for unreadable or invalid ones."""

import gzip
import itertools
import json
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
import trustme

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.tokens.keys import EDDSA, HMAC, PKCS1, PSS
from sentry_trio.validators.jwks.fetching import MOST_BYTES
from sentry_trio.validators.jwks.keyset import Loaded, Source, SourceError
from sentry_trio.validators.jwks.sources import MOST_KEYS, file_source, inline_source, url_source
from testkit.jwks_server import answer, served
from testkit.log_capture import capture_logs
from tests.validators.jwks.test_validator import jwk

ONE = jwk("EdDSA", kid="one")
SET = json.dumps({"keys": [ONE, jwk("RS256", kid="two"), jwk("HS256", kid="secret")]})
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NO_LITERAL = (
    "failed to init cache: failed to parse property 'location': not a URL, path to local file, or JSON value "
    "(optionally base64-encoded)"
)
# Invalid key sets of all sources, and their error texts.
NO_SETS = [
    ("", "not JSON"),
    ("{", "not JSON"),
    ('{"keys": [' + "[" * 100_000, "not JSON"),
    ("[]", "not a JWK set"),
    ("1", "not a JWK set"),
    ("{}", "not a JWK set"),
    ('{"keys": 1}', "not a JWK set"),
    ('{"keys": null}', "not a JWK set"),
    (json.dumps({"keys": [ONE] * (MOST_KEYS + 1)}), f"more than {MOST_KEYS} keys"),
]


def base64(text: str, *, padded: bool) -> str:
    encoded = b64encode(text.encode()).decode()
    return encoded if padded else encoded.rstrip("=")


def remote(url: str, *, ca: str = "", timeout: float = 20) -> Source:
    return url_source(url, ca_certificate=ca, timeout=timeout, now=lambda: NOW)


@pytest.mark.parametrize("blanks", ["", " ", "  "])
@pytest.mark.parametrize("padded", [True, False])
async def test_a_literal_in_base64(blanks: str, padded: bool) -> None:
    """Of every length, so that there are two, one and no signs of padding."""
    loaded = await inline_source(base64(SET + blanks, padded=padded)).load()
    assert loaded.keys.keys() == {"one", "two", "secret"}


async def test_a_literal_as_it_is() -> None:
    loaded = await inline_source(f"\n {SET}\n").load()
    assert {kid: key.algorithms for kid, key in loaded.keys.items()} == {
        "one": EDDSA,
        "two": PKCS1 | PSS,
        "secret": HMAC,
    }
    assert loaded.fresh_for == 0


async def test_a_single_key_is_a_set() -> None:
    assert (await inline_source(json.dumps(ONE)).load()).keys.keys() == {"one"}


async def test_a_set_without_keys_is_a_set() -> None:
    assert not (await inline_source('{"keys": []}').load()).keys


async def test_as_many_keys_as_there_may_be() -> None:
    many = json.dumps({"keys": [ONE | {"kid": str(number)} for number in range(MOST_KEYS)]})
    assert len((await inline_source(many).load()).keys) == MOST_KEYS


@pytest.mark.parametrize(
    "text",
    [
        *(text for text, _ in NO_SETS),
        "keys.json",
        "ftp://host/keys",
        base64("nonsense", padded=True),
        "\ud800",
        "e30=!",
    ],
    ids=itertools.count(),  # keys are new each time
)
def test_invalid_literals(text: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        inline_source(text)
    assert str(caught.value) == NO_LITERAL


def file_of(content: str) -> Source:
    async def read(path: Path) -> bytes:
        await trio.lowlevel.checkpoint()
        return content.encode()

    return file_source(Path("/keys.json"), read)


async def test_a_file() -> None:
    assert (await file_of(SET).load()).keys.keys() == {"one", "two", "secret"}


@pytest.mark.parametrize(("content", "error"), NO_SETS, ids=range(len(NO_SETS)))
async def test_a_file_that_is_no_set(content: str, error: str) -> None:
    with pytest.raises(SourceError) as caught:
        await file_of(content).load()
    assert str(caught.value) == f"failed to parse JWKS file: {error}"


async def fetched(body: str, **headers: str) -> Loaded:
    with served(answer(200, body.encode(), **headers)) as url:
        return await remote(url).load()


async def test_secrets_from_a_url_are_not_used() -> None:
    """So there is no secret in it."""
    loaded = await fetched(SET, Cache_Control="max-age=30")
    assert loaded.keys.keys() == {"one", "two"}
    assert loaded.fresh_for == 30


@pytest.mark.parametrize(("body", "error"), NO_SETS, ids=range(len(NO_SETS)))
async def test_a_url_without_a_key_set(body: str, error: str) -> None:
    with pytest.raises(SourceError) as caught:
        await fetched(body)
    assert str(caught.value) == f"failed to fetch JWKS: {error}"


async def test_a_status_that_is_not_200() -> None:
    with served(answer(503)) as url, pytest.raises(SourceError) as caught:
        await remote(url).load()
    assert str(caught.value) == "failed to fetch JWKS: status 503"


def test_credentials_are_not_in_its_name() -> None:
    assert remote("https://me:secret@127.0.0.1:1/keys").name == "https://127.0.0.1:1/keys"


@pytest.mark.parametrize(("scheme", "warnings"), [("http", 1), ("https", 0)])
def test_without_tls_there_is_a_warning(scheme: str, warnings: int) -> None:
    with capture_logs() as lines:
        remote(f"{scheme}://127.0.0.1:1")
    assert [line["log_level"] for line in lines] == ["warning"] * warnings


@pytest.mark.parametrize(
    ("ca", "error"),
    [
        ("/nowhere", "failed to load CA certificate: "),
        ("-----BEGIN x", "failed to add root certificate to certificate pool"),
    ],
)
def test_an_authority_that_is_none(ca: str, error: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=f"^failed to init cache: {error}"):
        remote("https://127.0.0.1:1", ca=ca)


async def test_an_authority_in_a_file_is_read_for_each_fetch(tmp_path: Path) -> None:
    path, first, second = tmp_path / "ca.pem", trustme.CA(), trustme.CA()
    first.cert_pem.write_to_path(path)
    with served(answer(200, SET.encode()), ca=second) as url:
        source = remote(url, ca=str(path))
        with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED"):
            await source.load()
        path.unlink()
        with pytest.raises(SourceError, match=r"^failed to load CA certificate: "):
            await source.load()
        second.cert_pem.write_to_path(path)
        assert (await source.load()).keys.keys() == {"one", "two"}


GZIPPED = gzip.compress(SET.encode())


async def test_an_answer_in_gzip_is_read() -> None:
    for encoding in ("gzip", "GZIP", "x-gzip"):
        with served(answer(200, GZIPPED, Content_Encoding=encoding)) as url:
            assert (await remote(url).load()).keys.keys() == {"one", "two"}
    with served(answer(200, SET.encode(), Content_Encoding="identity")) as url:
        assert (await remote(url).load()).keys.keys() == {"one", "two"}


@pytest.mark.parametrize(
    ("compose", "encoding", "error"),
    [
        (SET.encode, "gzip", "the answer is not valid gzip"),
        (lambda: GZIPPED[:-9], "gzip", "the answer is cut short"),
        (lambda: gzip.compress(b" " * (MOST_BYTES + 1), 1), "gzip", f"more than {MOST_BYTES} bytes"),
        (lambda: gzip.compress(b" " * (300 * MOST_BYTES), 1), "gzip", f"more than {MOST_BYTES} bytes"),
        (lambda: GZIPPED, "br", "content encoding 'br' is not supported"),
    ],
    ids=["no gzip", "cut", "long", "bomb", "other encoding"],
)
async def test_an_answer_in_bad_gzip(compose: Callable[[], bytes], encoding: str, error: str) -> None:
    with served(answer(200, compose(), Content_Encoding=encoding)) as url, pytest.raises(SourceError) as caught:
        await remote(url).load()
    assert str(caught.value) == f"failed to fetch JWKS: {error}"


async def test_a_discovery_document_is_recognized() -> None:
    document = json.dumps({"issuer": "https://issuer.example", "jwks_uri": "https://issuer.example/keys"})
    with served(answer(200, document.encode())) as url, pytest.raises(SourceError) as caught:
        await remote(url).load()
    assert str(caught.value) == (
        "failed to fetch JWKS: not a JWK set but a discovery document; use its jwks_uri as the source: "
        "https://issuer.example/keys"
    )


async def test_keys_that_are_not_used_are_listed() -> None:
    loaded = await inline_source(json.dumps({"keys": [ONE, ONE | {"kid": "other", "use": "enc"}]})).load()
    assert loaded.keys.keys() == {"one"}
    assert [each.kid for each in loaded.dropped] == ["other"]
