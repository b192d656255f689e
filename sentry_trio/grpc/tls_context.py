"""TLS context of a server: protocols, ciphers, certificate chain and key."""

import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

# For TLS 1.2: forward secrecy and authenticated encryption only; TLS 1.3 has nothing else.
_TLS12_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(chain_pem: bytes, key_pem: bytes, *, protocols: Sequence[str] = ("h2",)) -> ssl.SSLContext:
    """Returns a context that serves with a chain and key, by TLS 1.2 or later; clients need no certificate.

    Args:
        chain_pem: certificates, the server's own first.
        key_pem: its private key, not encrypted. It is written to no disk if the system has anonymous files.
        protocols: protocols for ALPN; if there is none, ALPN is not answered.

    Raises:
        ssl.SSLError: chain or key cannot be read or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS12_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # Clients request one certificate and leave: a session ticket costs a write and is never used.
    context.num_tickets = 0
    if protocols:
        context.set_alpn_protocols(protocols)
    with _private_file(key_pem + b"\n" + chain_pem) as path:
        # Without a password OpenSSL would prompt for that of an encrypted key on the terminal.
        context.load_cert_chain(path, password="")
    return context


@contextmanager
def _private_file(content: bytes) -> Iterator[str]:
    """Path of a file that only this process can read, for `ssl`; it exists during the block."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("key", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:  # pragma: no cover  # systems without anonymous files: readable by this user alone, and gone at once
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
