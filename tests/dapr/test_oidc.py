"""OIDC: discovery and key set, with methods, headers and hosts."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from .comparing import Seen, compare, shown_by
from .http import ask, wait_until_ready
from .inputs import credentials, good_bundle, jwt_files
from .servers import Setting, Started, pair

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/jwks.json"
ON = ("--jwt-enabled", "--oidc-enabled", "--oidc-server-tls-enabled=false", "--enable-metrics=false")
FORWARDED = {"X-Forwarded-Host": "public.example"}

SETTINGS = {
    "plain": (),
    "hosts": ("--oidc-allowed-hosts", "sentry.example,public.example,[::1]"),
    "any host": ("--oidc-allowed-hosts", "*"),
    "issuer": ("--jwt-issuer", "https://issuer.example/mesh", "--oidc-path-prefix", "/mesh/"),
    "issuer with a path": ("--jwt-issuer", "https://issuer.example/mesh"),
    "key set elsewhere": ("--jwt-issuer", "https://issuer.example", "--oidc-jwks-uri", "https://keys.example/k"),
    "issuer that is no URL": ("--jwt-issuer", "dapr.io"),
    "prefix without slash": ("--oidc-path-prefix", "mesh"),
}


@pytest.fixture(scope="module", params=SETTINGS.keys())
def both(
    request: pytest.FixtureRequest, dapr_sentry: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, tuple[Started, Started]]]:
    name: str = request.param
    setting = Setting(files=credentials(good_bundle()) | jwt_files(), flags=(*ON, *SETTINGS[name]))
    with pair(dapr_sentry, setting, tmp_path_factory.mktemp("oidc")) as servers:
        for server in servers:
            wait_until_ready(server)
        yield name, servers


@dataclass(frozen=True)
class Case:
    target: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)


CASES = {
    "discovery": Case(DISCOVERY),
    "key set": Case(KEYS),
    "HEAD": Case(KEYS, "HEAD"),
    "POST": Case(DISCOVERY, "POST", {"Content-Length": "0"}),
    "OPTIONS": Case(KEYS, "OPTIONS"),
    "with a query": Case(DISCOVERY + "?a=b"),
    "below the prefix": Case("/mesh" + DISCOVERY),
    "key set below the prefix": Case("/mesh" + KEYS),
    "root": Case("/"),
    "trailing slash": Case(KEYS + "/"),
    "double slash": Case("/" + KEYS),
    "dots": Case("/a/.." + KEYS),
    "upper case": Case("/JWKS.json"),
    "escaped": Case("/%6awks.json"),
    "other host": Case(DISCOVERY, headers={"Host": "other.example"}),
    "host with a port": Case(DISCOVERY, headers={"Host": "sentry.example:8443"}),
    "host in upper case": Case(DISCOVERY, headers={"Host": "SENTRY.example"}),
    "host of an address": Case(DISCOVERY, headers={"Host": "[::1]:9080"}),
    "no host": Case(DISCOVERY, headers={"Host": ""}),
    "malformed host": Case(DISCOVERY, headers={"Host": "a b"}),
    "host without a port number": Case(DISCOVERY, headers={"Host": "x:notaport"}),
    "forwarded": Case(DISCOVERY, headers=FORWARDED),
    "forwarded from another host": Case(DISCOVERY, headers={"Host": "other.example"} | FORWARDED),
    "forwarded for another host": Case(DISCOVERY, headers={"X-Forwarded-Host": "evil.example"}),
    "key set forwarded for another host": Case(KEYS, headers={"X-Forwarded-Host": "evil.example"}),
    "forwarded protocol": Case(DISCOVERY, headers={"X-Forwarded-Proto": "https"}),
    "refused host with POST": Case(KEYS, "POST", {"Host": "other.example", "Content-Length": "0"}),
    "modified since": Case(KEYS, headers={"If-Modified-Since": "Sat, 28 Nov 2026 00:00:00 GMT"}),
}

SEEN: Seen = {
    "oidc-head": ("plain: HEAD",),
    "oidc-headers": ("plain: key set", "plain: POST", "hosts: discovery", "plain: no host"),
    "oidc-cache": ("plain: discovery", "plain: root"),
    "oidc-prefix": ("prefix without slash: below the prefix", "prefix without slash: key set below the prefix"),
    "oidc-malformed-host": (
        "issuer that is no URL: host without a port number",
        "issuer with a path: host without a port number",
    ),
    "oidc-jwks-uri": ("issuer with a path: discovery",),
}
# These differ in many cases; the document's length is that of its `jwks_uri`.
MAY_DIFFER: Final = ("oidc-headers", "oidc-cache", "oidc-head")
WITH_A_PATH: Final = (*MAY_DIFFER, "oidc-jwks-uri")


@pytest.mark.parametrize("name", CASES)
def test_requests(both: tuple[str, tuple[Started, Started]], name: str) -> None:
    setting, servers = both
    case = CASES[name]
    dapr, ours = (
        ask(server.ports["oidc-server-listen-port"], case.target, case.method, case.headers) for server in servers
    )
    may_differ = WITH_A_PATH if setting == "issuer with a path" else MAY_DIFFER
    compare(dapr, ours, differs=shown_by(SEEN, f"{setting}: {name}"), may_differ=may_differ)
