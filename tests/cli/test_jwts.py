"""Display of JWTs, and `sentry-trio request` against a process that issues them."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest

from sentry_trio.cli.jwts import ObtainedJwt, brief
from testkit.hostile_tokens import encoded
from tests.cli.conftest import Start
from tests.cli.test_request import fails, request

FIRST, SECOND = "https://orders.example/a", "spiffe://td/ns/x/y"


def unsigned(header: object, claims: object) -> str:
    return f"{encoded(header)}.{encoded(claims)}.AAAA"


@pytest.mark.parametrize(
    ("token", "lines"),
    [
        (
            unsigned({"kid": "k/1="}, {"aud": ["a", "b"], "exp": 0}),
            ['for "a", "b"', "until 1970-01-01 00:00:00 UTC", 'key ID "k/1="'],
        ),
        (
            unsigned({"kid": "\x1b[2J"}, {"aud": "\x1b]0;x\x07[red]", "exp": "\x1b"}),
            [r'for "\x1b]0;x\a[red]"', r'until "\x1b"', r'key ID "\x1b[2J"'],
        ),
        (unsigned({}, {"exp": 1e300}), ['for "None"', 'until "1e+300"', 'key ID "None"']),
        (unsigned({}, {"aud": [1], "exp": 10**30}), ['for "1"', f'until "{10**30}"', 'key ID "None"']),
        ("opaque", ["cannot be parsed: invalid JWT"]),
        ("\ud800", ["cannot be parsed: not text"]),
        ("", ["cannot be parsed: invalid JWT"]),
    ],
)
def test_in_brief(token: str, lines: list[str]) -> None:
    assert brief(token) == lines


def test_tokens_are_not_in_representations() -> None:
    assert "secret" not in repr(ObtainedJwt("jwt.txt", "JWT", "secret"))


def claims_of(path: Path, jwks: Path, audience: str) -> dict[str, Any]:
    token = path.read_text()
    key = jwt.PyJWKSet.from_json(jwks.read_text())[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=["ES256"], audience=audience)
    return claims


def test_they_are_written_and_listed_but_not_shown(start: Start, tmp_path: Path) -> None:
    port = start("--jwt-enabled", "--jwt-signing-algorithm=ES256").log_until("Running gRPC server on port ")
    out, jwks = tmp_path / "out", tmp_path / "jwks.json"
    to = ("--address", f"127.0.0.1:{port}", "--trust-anchors", str(tmp_path / "ca.crt"), "--id=myapp")
    result = request(*to, "--out", str(out), *(f"--jwt-audience={each}" for each in (FIRST, SECOND, FIRST)))
    assert (result.returncode, result.stderr) == (0, "")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()}
    secret = dict.fromkeys(["tls.key", "jwt.txt", "jwt-1.txt", "jwt-2.txt"], 0o600)
    assert modes == {**secret, "tls.crt": 0o644, "ca.crt": 0o644}
    assert claims_of(out / "jwt.txt", jwks, "public")["aud"] == ["public", FIRST, SECOND, FIRST]
    assert claims_of(out / "jwt-1.txt", jwks, FIRST)["aud"] == [FIRST]
    second = claims_of(out / "jwt-2.txt", jwks, SECOND)
    assert (second["aud"], second["sub"]) == ([SECOND], "spiffe://public/ns/default/myapp")

    shown = "".join(result.stdout.split())
    for reported in (
        "jwt-2.txt",
        f'for"{SECOND}"',
        f"until{datetime.fromtimestamp(second['exp'], UTC):%Y-%m-%d%H:%M:%S}UTC",
        f"keyID{json.dumps(json.loads(jwks.read_text())['keys'][0]['kid'])}",
    ):
        assert reported in shown
    for name in ("jwt.txt", "jwt-1.txt", "jwt-2.txt"):
        assert (out / name).read_text() not in shown
        assert (out / name).read_text().rpartition(".")[2] not in shown

    asked = request(*to, "--out", str(out), "--jwt-audience", FIRST, "--print-jwts")
    assert asked.stdout.splitlines()[-2:] == [(out / name).read_text() for name in ("jwt.txt", "jwt-1.txt")]


def test_an_authority_that_issues_none(start: Start, tmp_path: Path) -> None:
    port = start().log_until("Running gRPC server on port ")
    out = tmp_path / "out"
    to = ("--address", f"127.0.0.1:{port}", "--trust-anchors", str(tmp_path / "ca.crt"), "--id=myapp")
    line = fails(*to, "--jwt-audience", FIRST, "--out", str(out))
    assert f'no JWT for audience "{FIRST}" was issued: start the authority with --jwt-enabled' in line
    assert not out.exists()
    marked = tmp_path / "[bold]:key:"
    result = request(*to, "--print-jwts", "--out", str(marked))
    assert result.returncode == 0
    assert "[bold]:key:/tls.key" in "".join(result.stdout.split())
    assert {path.name for path in marked.iterdir()} == {"tls.key", "tls.crt", "ca.crt"}
