"""Root keys that are kept: encrypted as PKCS#8, which OpenSSL reads, and named by their roots."""

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from sentry_trio.ca.asn1 import Tag, encode, encode_integer, encode_object_identifier
from sentry_trio.ca.certificates import fingerprint
from sentry_trio.ca.generate import NewBundle, generate
from sentry_trio.ca.keys import KeyType, public_key_info, read_private_key
from sentry_trio.ca.pem import write_block
from sentry_trio.ca.root_key import named_root, read_root_key, write_root_key
from sentry_trio.errors import RootKeyError
from testkit.ca.making import DAY, NOW, SKEW

PASSPHRASE = b"correct horse"


def authority(key_type: KeyType = KeyType.P256) -> NewBundle:
    return generate("td", "ns", key_type, now=NOW, allowed_clock_skew=SKEW, lifetime=DAY, root_lifetime=9 * DAY)


MADE = authority()
SEALED = write_root_key(MADE.root_key, MADE.root, PASSPHRASE)


def test_the_root_outlives_the_issuer() -> None:
    assert MADE.root.not_after - MADE.issuer.not_after == 8 * DAY
    assert MADE.root.not_before == MADE.issuer.not_before
    same = generate("td", "ns", KeyType.P256, now=NOW, allowed_clock_skew=timedelta(), lifetime=DAY)
    assert same.root.not_after == same.issuer.not_after


@pytest.mark.parametrize("passphrase", [PASSPHRASE, None])
@pytest.mark.parametrize("key_type", KeyType)
def test_openssl_reads_it(key_type: KeyType, passphrase: bytes | None, tmp_path: Path) -> None:
    made = authority(key_type)
    (tmp_path / "root.key").write_bytes(write_root_key(made.root_key, made.root, passphrase))
    command = ["openssl", "pkey", "-in", "root.key", "-passin", "pass:correct horse", "-pubout", "-outform", "DER"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert done.stdout == made.root.public_key_info
    read = read_root_key((tmp_path / "root.key").read_bytes(), made.root, passphrase)
    assert public_key_info(read.public_key()) == made.root.public_key_info


def test_a_key_written_by_openssl_is_read(tmp_path: Path) -> None:
    """With another passphrase, and with the name as long as that line is kept."""
    (tmp_path / "root.key").write_bytes(SEALED)
    command = "openssl pkcs8 -topk8 -in root.key -passin pass:'correct horse' -scrypt -passout pass:battery"
    done = subprocess.run(["sh", "-c", f"head -n 1 root.key; {command}"], cwd=tmp_path, check=True, capture_output=True)
    assert named_root(done.stdout) == fingerprint(MADE.root)
    read_root_key(done.stdout, MADE.root, b"battery")


def test_no_two_texts_are_alike() -> None:
    assert write_root_key(MADE.root_key, MADE.root, PASSPHRASE) != SEALED
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in SEALED


def test_the_name_of_the_root() -> None:
    assert named_root(SEALED) == fingerprint(MADE.root)
    assert named_root(b"\n" + SEALED.replace(b"\n", b"\r\n")) == fingerprint(MADE.root)
    assert named_root(b"# mine\n" + SEALED) is None
    assert named_root(SEALED.split(b"\n", 1)[1]) is None
    assert named_root(b"") is None


@pytest.mark.parametrize(
    ("content", "passphrase", "reason"),
    [
        (SEALED, b"battery", "the passphrase is wrong, or the key is damaged"),
        (SEALED, None, "the root key is encrypted: set --ca-root-key-passphrase-file"),
        (SEALED[:-100], PASSPHRASE, "the passphrase is wrong, or the key is damaged"),
        (b"", PASSPHRASE, "key is not PEM encoded"),
        (b"\xff\x00", None, "key is not PEM encoded"),
        (
            write_root_key(read_private_key(MADE.key), MADE.root, None),
            None,
            "the root key is not that of the root with SHA-256",
        ),
    ],
)
def test_keys_that_cannot_be_used(content: bytes, passphrase: bytes | None, reason: str) -> None:
    with pytest.raises(RootKeyError, match=reason):
        read_root_key(content, MADE.root, passphrase)


def encrypted_with(algorithm: str, *numbers: int) -> bytes:
    """Returns a key whose passphrase is derived with these parameters; nothing is derived here."""
    parameters = encode(Tag.SEQUENCE, encode(Tag.OCTET_STRING, b"salt"), *map(encode_integer, numbers))
    kind = encode(Tag.SEQUENCE, encode_object_identifier(algorithm), parameters)
    if algorithm != OLD:
        kind = encode(Tag.SEQUENCE, encode_object_identifier("1.2.840.113549.1.5.13"), encode(Tag.SEQUENCE, kind))
    return write_block("ENCRYPTED PRIVATE KEY", encode(Tag.SEQUENCE, kind, encode(Tag.OCTET_STRING, b"sealed")))


SCRYPT, PBKDF2, OLD = "1.3.6.1.4.1.11591.4.11", "1.2.840.113549.1.5.12", "1.2.840.113549.1.12.1.3"


@pytest.mark.parametrize(
    "content",
    [
        encrypted_with(SCRYPT, 2**30, 8, 1),
        encrypted_with(SCRYPT, 2, 2**28, 1),
        encrypted_with(SCRYPT, 2, 1, 2**28),
        encrypted_with(SCRYPT, 2**14, 8, 256),
        encrypted_with(PBKDF2, 2**31 - 1),
        encrypted_with(OLD, 2**31 - 1),
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + encrypted_with(PBKDF2, 2**31 - 1),
    ],
)
def test_a_key_that_takes_much_memory_or_time_to_decrypt_is_rejected(content: bytes) -> None:
    """Writers of the store must not be able to use up the memory of the process."""
    with pytest.raises(RootKeyError, match="it takes too much memory or time to decrypt: encrypt it again"):
        read_root_key(content, MADE.root, PASSPHRASE)


@pytest.mark.parametrize("content", [encrypted_with(SCRYPT, 3, 8, 1), encrypted_with(PBKDF2), encrypted_with(OLD, 1)])
def test_the_error_of_a_damaged_key_is_one_short_line(content: bytes) -> None:
    with pytest.raises(RootKeyError) as caught:
        read_root_key(content, MADE.root, PASSPHRASE)
    assert str(caught.value) == "the root key cannot be used: the passphrase is wrong, or the key is damaged"


@pytest.mark.parametrize("options", ["-topk8 -v2 aes256 -iter 600000", "-topk8 -v1 PBE-SHA1-3DES", "-topk8 -scrypt"])
def test_ways_to_encrypt_that_openssl_has(options: str, tmp_path: Path) -> None:
    (tmp_path / "root.key").write_bytes(SEALED)
    command = f"openssl pkcs8 {options} -in root.key -passin pass:'correct horse' -passout pass:battery"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True)
    read_root_key(done.stdout, MADE.root, b"battery")


def test_the_older_form_of_openssl(tmp_path: Path) -> None:
    (tmp_path / "root.key").write_bytes(SEALED)
    command = "openssl pkey -traditional -in root.key -passin pass:'correct horse' -aes128 -passout pass:battery"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True)
    assert b"Proc-Type" in done.stdout
    read_root_key(done.stdout, MADE.root, b"battery")
