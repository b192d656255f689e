"""Lower bound for every server in Python: OpenSSL's half of a handshake, and the signing core.

`python -m benchmarks.contenders.floor CREDENTIALS new|kept SECONDS` measures itself and prints JSON.
"""

import argparse
import ssl
import sys
import time
from pathlib import Path

import msgspec

from benchmarks.contenders import serving
from benchmarks.findings import Pass
from benchmarks.measure import usage
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from testkit.authorities import made_request


def _client_context() -> ssl.SSLContext:
    # The client may use or ignore the certificate; its time is not counted.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _handshake(server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> float:
    """Completes a TLS handshake in memory; returns the server's CPU seconds."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server)
    _step(client)
    begun = time.thread_time()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    _step(server)
    spent = time.thread_time() - begun
    client.do_handshake()
    begun = time.thread_time()
    server.do_handshake()
    return spent + time.thread_time() - begun


def _step(half: ssl.SSLObject) -> None:
    try:
        half.do_handshake()
    except ssl.SSLWantReadError:
        return
    raise AssertionError("a handshake takes two")


def _measure(credentials: Path, kind: str, seconds: float) -> Pass:
    issuer = serving.read_issuer(credentials)
    signer, request = serving.Signer(issuer), made_request("load", serving.NAMESPACE).SerializeToString()
    contexts = serving.tls_context(serving.serving_leaf(issuer)), _client_context()
    spent, calls, before = 0.0, 0, time.monotonic()
    while time.monotonic() - before < seconds:
        if kind == "new":
            spent += _handshake(*contexts)
        begun = time.thread_time()
        signer.sign(SignCertificateRequest.FromString(request)).SerializeToString()
        spent += time.thread_time() - begun
        calls += 1
    return Pass(calls=calls, seconds=time.monotonic() - before, cpu_seconds=spent, rss_kib=usage("self").rss_kib)


def main() -> None:
    """Measures by the flags of the command line."""
    parser = argparse.ArgumentParser(description="Measures the handshake and the signing core.")
    parser.add_argument("credentials", type=Path)
    parser.add_argument("kind", choices=["kept", "new"])
    parser.add_argument("seconds", type=float)
    given = parser.parse_args()
    sys.stdout.buffer.write(msgspec.json.encode(_measure(given.credentials, given.kind, given.seconds)))


if __name__ == "__main__":
    main()
