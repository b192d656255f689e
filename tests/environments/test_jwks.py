"""Kinds of key set sources, and a file that is read as it changes."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from sentry_trio.environments.jwks import open_key_set
from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.settings.configuration import JwksOptions
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators.jwks.keyset import KeySet
from testkit.log_capture import Line, capture_logs, hear_logs
from tests.validators.jwks.test_validator import jwk

NOT_ANY = (
    "failed to init cache: failed to parse property 'location': not a URL, path to local file, or JSON value "
    "(optionally base64-encoded)"
)


def opened(source: str) -> KeySet:
    keys, _ = open_key_set(JwksOptions(source=source), metrics=Metrics(), now=lambda: datetime.now(UTC))
    return keys


async def reported(source: str) -> str:
    """Error of reading a source, with its name."""
    with capture_logs() as lines:
        await opened(source).refresh()
    assert lines[-1]["source"] == source
    return str(lines[-1]["event"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("keys.json", "failed to parse JWKS file: not JSON; "),
        ("absent.json", "failed to read JWKS file: open {}: no such file or directory; "),
        ("keys.json/below", "failed to read JWKS file: open {}: "),
    ],
)
async def test_absolute_paths(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "keys.json").write_text("")
    path = str(tmp_path / name)
    assert (await reported(path)).startswith(says.format(path))


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        opened(str(tmp_path))
    assert str(caught.value) == NOT_ANY


async def test_a_relative_path_of_a_file_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidConfigurationError) as caught:
        opened("keys.json")
    assert str(caught.value) == NOT_ANY
    (tmp_path / "keys.json").write_text("")
    assert (await reported("keys.json")).startswith("failed to parse JWKS file: ")


@pytest.mark.parametrize(
    "source", ["/" + "a" * 300, "/a\0b", "a\0b", "x" * 5000, "/\ud800", "."], ids=lambda it: it[:5]
)
def test_sources_that_are_neither_path_nor_set(source: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        opened(source)
    assert str(caught.value) == NOT_ANY


def test_an_empty_source() -> None:
    with pytest.raises(
        InvalidConfigurationError, match=r"^failed to init cache: property 'location' must not be empty$"
    ):
        opened("")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_url(scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:1/keys"
    with capture_logs() as lines:
        opened(url)
    assert [line["log_level"] for line in lines] == ["warning"] * (scheme == "http")
    assert (await reported(url)).startswith("failed to fetch JWKS: ")


async def test_a_file_is_read_again_whenever_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(jwk("ES256", kid="one")))
    keys, keep = open_key_set(JwksOptions(source=str(path)), metrics=Metrics(), now=lambda: datetime.now(UTC))
    read = trio.Event()

    def hear(line: Line) -> None:
        if line["event"] == "JWKS loaded" and line["keys"] == [expected]:
            read.set()

    with hear_logs(hear):
        async with trio.open_nursery() as nursery:
            expected = "one"
            nursery.start_soon(keep)
            for kid in ("one", "two", "three"):
                # No key is requested: only the change causes a read.
                with trio.fail_after(60):
                    await read.wait()
                assert await keys.find(kid)
                read, expected = trio.Event(), {"one": "two", "two": "three"}.get(kid, "")
                path.write_text(json.dumps(jwk("ES256", kid=expected)))
            nursery.cancel_scope.cancel()
