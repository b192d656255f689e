"""The public parts of a trust bundle: read without the key, and without touching anything."""

import os
from base64 import b64encode
from pathlib import Path

import pytest

from sentry_trio.errors import StoreError
from sentry_trio.stores.directory import read_public_files
from sentry_trio.stores.part_store import PublicParts
from sentry_trio.stores.secret_content import public_parts


def encoded(**parts: bytes) -> dict[str, object]:
    return {"data": {name.replace("_", "."): b64encode(part).decode() for name, part in parts.items()}}


async def test_files_are_read_and_the_key_is_not(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"anchors")
    (tmp_path / "issuer.crt").write_bytes(b"chain")
    # Opening it would wait for its writer.
    os.mkfifo(tmp_path / "issuer.key")
    assert await read_public_files(tmp_path / "ca.crt", tmp_path / "issuer.crt") == PublicParts(b"anchors", b"chain")


async def test_leftovers_of_a_crash_are_left_alone(tmp_path: Path) -> None:
    for name in ("ca.crt", "issuer.crt", ".ca.crt.sentry-trio-new", ".issuer.key.sentry-trio-commit"):
        (tmp_path / name).write_bytes(b"something")
    before = sorted(tmp_path.iterdir())
    await read_public_files(tmp_path / "ca.crt", tmp_path / "issuer.crt")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("content", [None, "directory", b"x" * (1024 * 1024 + 1)], ids=["gone", "directory", "large"])
async def test_the_error_names_files_that_cannot_be_read(tmp_path: Path, content: bytes | str | None) -> None:
    anchors = tmp_path / "ca.crt"
    if isinstance(content, bytes):
        anchors.write_bytes(content)
    elif content:
        anchors.mkdir()
    (tmp_path / "issuer.crt").write_bytes(b"chain")
    with pytest.raises(StoreError, match=r"no such file|is a directory|larger than 1048576 bytes") as caught:
        await read_public_files(anchors, tmp_path / "issuer.crt")
    assert str(anchors) in str(caught.value)


def test_public_parts_of_a_secret() -> None:
    secret = encoded(ca_crt=b"anchors", issuer_crt=b"chain", issuer_key=b"secret", other=b"x")
    parts = public_parts(secret, "ca.crt", "issuer.crt", place="dapr-system/dapr-trust-bundle")
    assert parts == PublicParts(b"anchors", b"chain")


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ({}, "has no ca.crt and no issuer.crt"),
        (encoded(ca_crt=b"anchors"), "has no issuer.crt"),
        ({"data": {"ca.crt": "?", "issuer.crt": "?"}}, "ca.crt: the value is not base64"),
        ({"data": {"ca.crt": 1, "issuer.crt": "?"}}, "ca.crt: the value is not base64"),
        (encoded(ca_crt=b"x" * (1024 * 1024 + 1), issuer_crt=b""), "ca.crt: larger than 1048576 bytes"),
    ],
)
def test_missing_parts_of_a_secret_are_named(secret: dict[str, object], says: str) -> None:
    with pytest.raises(StoreError) as caught:
        public_parts(secret, "ca.crt", "issuer.crt", place="here/bundle")
    assert str(caught.value) == f"Secret here/bundle{' ' if says.startswith('has') else ': '}{says}"
