"""A certificate and a key in files, for new connections, as long as the files can be used."""

import ssl
from pathlib import Path

import trio

from sentry_trio.errors import ServerTLSError
from sentry_trio.grpc import server_context
from sentry_trio.reasons import openssl_reason
from sentry_trio.stores.atomic_files import FileOperations, Unreadable
from sentry_trio.stores.permissions import KeyPermissions


class TLSFiles:
    """The pair that was last found good.

    Args:
        certificate: a PEM file: certificates, the server's own first.
        key: a PEM file: its private key.

    Attributes:
        context: TLS context of the next connection; None until a pair was found. It stays if the files become invalid.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self.context: ssl.SSLContext | None = None
        self.paths = (certificate, key)
        self._permissions = KeyPermissions()

    async def load(self) -> tuple[Path, ...]:
        """Reads the files; returns those that are not there, and then nothing has changed.

        Raises:
            ServerTLSError: they exist and cannot be read, are invalid, or do not belong together.

        Cancellation: at once, and then nothing has changed.
        """
        contents = await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
        missing = tuple(path for path, content in zip(self.paths, contents, strict=True) if content is None)
        if not missing:
            chain, key = (content or b"" for content in contents)
            self.context = self._context(chain, key)
            await self._permissions.check(self.paths[1], key)
        return missing

    def _read(self) -> list[bytes | None]:
        disk = FileOperations()
        contents: list[bytes | None] = []
        for path in self.paths:
            content = disk.read(path)
            if isinstance(content, Unreadable):
                raise _unusable(path, content.reason)
            contents.append(content)
        return contents

    def _context(self, chain: bytes, key: bytes) -> ssl.SSLContext:
        certificate_path, key_path = self.paths
        try:
            # Dapr Sentry 1.18 answers no ALPN either: HTTP/1.1 is all there is.
            return server_context(chain, key, protocols=())
        except ssl.SSLError as error:
            if b"-----BEGIN CERTIFICATE-----" not in chain:
                raise _unusable(certificate_path, "it has no PEM block CERTIFICATE") from error
            if b"ENCRYPTED" in key:
                raise _unusable(key_path, "the key is encrypted: store it without a passphrase") from error
            if b"PRIVATE KEY-----" not in key:
                raise _unusable(key_path, "it has no PEM block PRIVATE KEY") from error
            why = openssl_reason(error) or "cannot be parsed"
            raise _unusable(certificate_path, f"with {key_path}: {why}") from error


def _unusable(path: Path, reason: str) -> ServerTLSError:
    return ServerTLSError(f"failed to load TLS certificate and key: {path}: {reason}")
