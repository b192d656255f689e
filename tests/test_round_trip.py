"""Two authorities: a token that one issues is shown to the other, which fetches the keys of the first over TLS."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import trustme

from testkit.oidc.served import write_pair
from testkit.processes import Process, sentry_process
from tests.cli.test_request import request

SECOND = "spiffe://second.example/ns/default/dapr-sentry"


class Party:
    """An authority, and where it is."""

    def __init__(self, process: Process, directory: Path, trust_domain: str, *, publishes: bool) -> None:
        self.url = ""
        if publishes:
            self.url = "https://localhost:" + process.log_until("Starting OIDC HTTP server on 127.0.0.1:")
        port = process.log_until("Running gRPC server on port ")
        self._to = ("--address", f"127.0.0.1:{port}", "--trust-anchors", str(directory / "ca.crt"))
        self._is = f"--sentry-trust-domain={trust_domain}"

    def ask(self, out: Path, *flags: str, app_id: str = "cart") -> CompletedProcess[str]:
        return request(*self._to, self._is, f"--id={app_id}", "--namespace=shop", "--out", str(out), *flags)


@contextmanager
def authority(directory: Path, trust_domain: str, *flags: str) -> Iterator[Party]:
    with sentry_process(directory, f"--trust-domain={trust_domain}", *flags) as process:
        yield Party(process, directory, trust_domain, publishes="--oidc-enabled" in flags)


def test_a_token_of_one_authority_is_good_for_a_certificate_of_another(tmp_path: Path) -> None:
    first, second, out = tmp_path / "first", tmp_path / "second", tmp_path / "out"
    for directory in (first, second):
        directory.mkdir()
    ca = trustme.CA()
    write_pair(tmp_path, ca)
    oidc = (
        *("--jwt-enabled", "--jwt-signing-algorithm=ES384", "--oidc-enabled", "--oidc-server-listen-port=0"),
        *("--oidc-server-listen-address=127.0.0.1", f"--oidc-server-tls-cert-file={tmp_path}/tls.crt"),
        f"--oidc-server-tls-key-file={tmp_path}/tls.key",
    )
    with authority(first, "first.example", *oidc) as issuing:
        options = {"source": f"{issuing.url}/jwks.json", "caCertificate": ca.cert_pem.bytes().decode()}
        validators = {"tokenValidators": [{"name": "jwks", "options": options}]}
        (second / "config.yaml").write_text(json.dumps({"spec": {"mtls": validators}}))
        audiences = (f"--jwt-audience={SECOND}", "--jwt-audience=https://elsewhere.example")
        assert issuing.ask(out, *audiences).stderr == ""
        with authority(second, "second.example", f"--config={second}/config.yaml") as trusting:

            def shown(name: str, app_id: str = "cart") -> CompletedProcess[str]:
                token = ("--validator=jwks", f"--token-file={out / name}")
                return trusting.ask(tmp_path / "made", *token, app_id=app_id)

            # Alone for the second authority, and among others.
            for name in ("jwt-1.txt", "jwt.txt"):
                good = shown(name)
                assert (good.returncode, good.stderr) == (0, "")
                assert "spiffe://public/ns/shop/cart" in good.stdout
            assert (tmp_path / "made" / "ca.crt").read_bytes() == (second / "ca.crt").read_bytes()

            refused = "answered PermissionDenied: token validation failed: "
            assert f'{refused}"aud" not satisfied' in shown("jwt-2.txt").stderr
            assert f'{refused}"sub" not satisfied: values do not match' in shown("jwt-1.txt", "basket").stderr

            # A stranger whose key has the ID of a good one.
            kid = json.loads((first / "jwks.json").read_text())["keys"][0]["kid"]
            stranger = tmp_path / "stranger"
            stranger.mkdir()
            flags = ("--jwt-enabled", "--jwt-signing-algorithm=ES384", f"--jwt-key-id={kid}")
            with authority(stranger, "first.example", *flags) as other:
                assert other.ask(out, *audiences).stderr == ""
            assert f"{refused}could not verify message using any of the signatures or keys" in shown("jwt-1.txt").stderr
