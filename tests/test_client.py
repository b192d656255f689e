"""The client against a server that closes connections as one that restarts does."""

import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sentry_trio.ca.keys import write_private_key
from sentry_trio.client import Authority, RequestFailedError, Workload, obtain
from testkit.authorities import wall_clock
from testkit.ca.making import CA_USAGE, DAY, HOUR, unread_certificate

SPIFFE_ID = "spiffe://localhost/ns/default/dapr-sentry"
# SETTINGS without entries, and GOAWAY for streams from 0 on, without an error (RFC 9113, sections 6.5 and 6.8).
SETTINGS_AND_GOAWAY = bytes.fromhex("000000040000000000" + "000008070000000000" + "00000000" + "00000000")


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_connection_that_the_server_drains_is_replaced_within_the_attempt(tmp_path: Path, attempts: int) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(SPIFFE_ID)])
    certificate = unread_certificate(
        "sentry",
        key,
        usage=(*CA_USAGE, "digital_signature"),
        more=[x509.Extension(names.oid, critical=False, value=names)],
        not_before=wall_clock() - HOUR,
        not_after=wall_clock() + DAY,
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "both.pem").write_bytes(pem + write_private_key(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    context.set_alpn_protocols(["h2"])
    accepted = []

    def drain(listener: socket.socket) -> None:
        for _ in range(2 * attempts):
            connection, _ = listener.accept()
            accepted.append(connection)
            with connection, context.wrap_socket(connection, server_side=True) as tls:
                tls.sendall(SETTINGS_AND_GOAWAY)
                while tls.recv(4096):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drain, args=(listener,), daemon=True)
        thread.start()
        authority = Authority(host="127.0.0.1", port=listener.getsockname()[1], trust_anchors=pem, spiffe_id=SPIFFE_ID)
        with pytest.raises(RequestFailedError, match="cannot reach"):
            obtain(authority, Workload(app_id="myapp", namespace="default"), attempts=attempts)
        thread.join(60)
    assert len(accepted) == 2 * attempts
