"""Private keys that every user can read."""

import os
from pathlib import Path

import pytest

from sentry_trio.stores.passphrase import read_passphrase
from sentry_trio.stores.permissions import KeyPermissions
from testkit.log_capture import capture_logs


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key that every user can reach: pytest's own directories are for their owner alone."""
    for directory in (tmp_path, *tmp_path.parents):
        if not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o001)
    path = tmp_path / "issuer.key"
    path.write_text("key")
    return path


async def warnings(permissions: KeyPermissions, path: Path, content: bytes = b"key") -> list[str]:
    with capture_logs() as lines:
        await permissions.check(path, content)
    assert {line["log_level"] for line in lines} <= {"warning"}
    return [str(line["event"]) for line in lines]


@pytest.mark.parametrize(("mode", "is_open"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
async def test_modes(key: Path, mode: int, is_open: bool) -> None:
    key.chmod(mode)
    reported = await warnings(KeyPermissions(), key)
    text = (
        f"every user of this machine can read or replace the private key {key} (mode {mode:04o}): "
        "give it mode 0600, or 'defaultMode: 0400' if it is in a volume of Kubernetes"
    )
    assert reported == ([text] if is_open else [])


def test_a_passphrase_file(key: Path) -> None:
    key.write_text("correct horse")
    key.chmod(0o644)
    with capture_logs() as lines:
        read_passphrase(key)
        key.chmod(0o600)
        read_passphrase(key)
    (line,) = lines
    assert str(line["event"]).startswith(f"every user of this machine can read or replace the passphrase file {key} ")


def test_a_passphrase_from_a_terminal() -> None:
    """/dev/tty has mode 0666, and is another terminal for each process."""
    control, terminal = os.openpty()
    os.fchmod(terminal, 0o666)
    os.write(control, b"correct horse\n")
    with capture_logs() as lines:
        assert read_passphrase(Path(os.ttyname(terminal))) == b"correct horse"
    os.close(control)
    os.close(terminal)
    assert lines == []


async def test_one_warning_for_each_content(key: Path) -> None:
    key.chmod(0o644)
    permissions = KeyPermissions()
    assert len(await warnings(permissions, key)) == 1
    assert await warnings(permissions, key) == []
    assert len(await warnings(permissions, key, b"another")) == 1


async def test_links_are_followed_as_in_a_volume(key: Path, tmp_path: Path) -> None:
    key.chmod(0o644)
    (tmp_path / "..2026").mkdir(mode=0o755)
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "..2026" / "tls.key").write_text("key")
    (tmp_path / "..2026" / "tls.key").chmod(0o644)
    (tmp_path / "tls.key").symlink_to("..data/tls.key")
    assert len(await warnings(KeyPermissions(), tmp_path / "tls.key")) == 1
    (tmp_path / "..2026" / "tls.key").chmod(0o440)
    assert await warnings(KeyPermissions(), tmp_path / "tls.key") == []


async def test_a_directory_for_its_owner_alone_is_enough(key: Path, tmp_path: Path) -> None:
    key.chmod(0o644)
    tmp_path.chmod(0o700)
    assert await warnings(KeyPermissions(), key) == []


async def test_a_file_that_is_gone_is_not_judged(tmp_path: Path) -> None:
    assert await warnings(KeyPermissions(), tmp_path / "gone") == []
