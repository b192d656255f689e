"""JWTs in Kubernetes mode: one signing key for all replicas, in the Secret, and its rotation under load."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import jwt
import pytest
import trio
from jwt.types import Options

from sentry_trio.client import Authority, Workload, obtain
from testkit.cluster.cluster import Cluster
from testkit.cluster.control_plane import ControlPlane, install, state
from testkit.cluster.installing import eventually
from testkit.processes import FAILED, Process

SERVING = "Running gRPC server on port "
OIDC = "Starting OIDC HTTP server (insecure) on "
FLAGS = ("--jwt-enabled", "--jwt-signing-algorithm=ES256")


@pytest.fixture
async def plane(cluster: Cluster, tmp_path: Path) -> ControlPlane:
    return await install(cluster, tmp_path)


async def started(process: Process) -> int:
    return int(await trio.to_thread.run_sync(process.log_until, SERVING))


async def published(plane: ControlPlane) -> str:
    return str((await plane.installation.get("configmaps"))["data"]["jwks.json"])


async def token_of(plane: ControlPlane, port: int, asking: Workload) -> str:
    authority = plane.authority(port, await plane.anchors())
    obtained = await trio.to_thread.run_sync(partial(obtain, authority, asking))
    assert obtained.jwt is not None
    return obtained.jwt


def verified(token: str, jwks: str) -> dict[str, Any]:
    key = jwt.PyJWKSet.from_json(jwks)[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=["ES256"], audience="public")
    return claims


async def test_replicas_that_start_together_sign_with_one_key(plane: ControlPlane) -> None:
    asking = await plane.shop()
    with plane.process(*FLAGS) as one, plane.process(*FLAGS) as two, plane.process(*FLAGS) as three:
        tokens = [await token_of(plane, await started(each), asking) for each in (one, two, three)]
    jwks = await published(plane)
    assert {verified(token, jwks)["sub"] for token in tokens} == {f"spiffe://public/ns/{asking.namespace}/shop"}
    assert len({jwt.get_unverified_header(token)["kid"] for token in tokens}) == 1
    parts = await plane.installation.parts()
    assert parts["jwks.json"].decode() == jwks
    assert parts["jwt.key"].startswith(b"-----BEGIN PRIVATE KEY-----\n")


async def test_turning_it_on_leaves_the_trust_bundle_alone(plane: ControlPlane) -> None:
    with plane.process() as process:
        await started(process)
    before = await plane.installation.parts()
    assert set(before) == {"ca.crt", "issuer.crt", "issuer.key"}
    with plane.process(*FLAGS) as process:
        await started(process)
    after = await plane.installation.parts()
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"jwt.key", "jwks.json"}
    # Off again, they are not read.
    await plane.installation.write({"jwt.key": b"no key", "jwks.json": b"no set"})
    with plane.process() as process:
        await started(process)
    with plane.process(*FLAGS) as process:
        assert await trio.to_thread.run_sync(process.exit_code) == 1
        [fatal] = [str(record["msg"]) for record in process.records if record["level"] == "fatal"]
    assert f"key jwt.key, JWKS jwks.json in Secret {plane.namespace}/dapr-trust-bundle" in fatal


async def test_changes_are_in_use_within_seconds_and_bad_ones_change_nothing(plane: ControlPlane) -> None:
    asking = await plane.shop()
    with plane.process(*FLAGS) as process:
        port = await started(process)
        before = (await trio.to_thread.run_sync(state, process))["jwks"]
        good = await plane.installation.parts()
        await plane.installation.write({"jwt.key": b"no key"})
        said = await trio.to_thread.run_sync(process.log_until, FAILED)
        assert "failed to decode JWT signing key" in said
        verified(await token_of(plane, port, asking), good["jwks.json"].decode())
        await plane.installation.write({"jwt.key": b"", "jwks.json": b""})
        await plane.installation.write({"jwt.key": good["jwt.key"], "jwks.json": good["jwks.json"]})
        named = json.dumps({"keys": [{**json.loads(good["jwks.json"])["keys"][0], "kid": "mine"}]})
        await plane.installation.write({"jwks.json": named.encode()})
        with trio.fail_after(60):
            while jwt.get_unverified_header(await token_of(plane, port, asking))["kid"] != "mine":
                await trio.lowlevel.checkpoint()
            # An operator's edit of what is published is undone.
            await plane.installation.edit("configmaps", data={"jwks.json": None})
            while "jwks.json" not in (await plane.installation.get("configmaps"))["data"]:
                await trio.lowlevel.checkpoint()
        assert await published(plane) == named
        assert (await trio.to_thread.run_sync(state, process))["jwks"] not in {before, None}

        async def is_served() -> bool:
            events = await plane.cluster.ask("GET", f"/api/v1/namespaces/{plane.namespace}/events")
            return "JwtKeysReplaced" in {event["reason"] for event in events["items"]}

        await eventually(is_served)


async def test_the_key_set_is_withdrawn_when_keys_are_rotated_and_served(plane: ControlPlane) -> None:
    oidc = ("--oidc-enabled", "--oidc-server-tls-enabled=false", "--oidc-server-listen-port=0")
    served = (*FLAGS, "--jwt-key-rotation=720h", *oidc)
    for flags, is_published in ((FLAGS, True), (served, False), ((*served, "--jwks-in-config-map"), True)):
        with plane.process(*flags) as process:
            await started(process)

            async def is_as_chosen(wanted: bool = is_published) -> bool:
                return ("jwks.json" in (await plane.installation.get("configmaps"))["data"]) is wanted

            await eventually(is_as_chosen)


@dataclass
class KeySet:
    """Key set of an endpoint, and the time for which it may be cached."""

    keys: jwt.PyJWKSet
    expires: float

    @classmethod
    def fetch(cls, url: str) -> "KeySet":
        began = time.monotonic()
        with urlopen(url, timeout=60) as answer:
            seconds = float(answer.headers["cache-control"].removeprefix("public, max-age="))
            return cls(jwt.PyJWKSet.from_json(answer.read().decode()), began + seconds)

    @property
    def names(self) -> set[str]:
        return {str(key.key_id) for key in self.keys.keys}


@dataclass
class Verifier:
    """Verifier of tokens: by the key sets that both replicas serve now, and by those that may still be cached.

    Attributes:
        urls: of the key sets.
        tokens: that have not ended yet, with the time of that.
        signed: how many each key has signed, in order of appearance.
    """

    urls: tuple[str, ...]
    tokens: list[tuple[float, str]] = field(default_factory=list)
    signed: dict[str, int] = field(default_factory=dict)
    cached: list[KeySet] = field(default_factory=list)
    reported: list[set[str]] = field(default_factory=list)
    looks: int = 0

    def show(self, token: str) -> None:
        """Each has to verify by everything that a client may have cached."""
        name = str(jwt.get_unverified_header(token)["kid"])
        self.cached = [each for each in self.cached if each.expires > time.monotonic()]
        for each in (*self.cached, *map(KeySet.fetch, self.urls)):
            claims = jwt.decode(token, each.keys[name], algorithms=["ES256"], audience="public")
        self.tokens.append((claims["exp"], token))
        self.signed[name] = self.signed.get(name, 0) + 1

    def look(self) -> None:
        """All tokens that have not expired must verify by the current key sets."""
        fresh = [KeySet.fetch(url) for url in self.urls]
        self.cached += fresh
        now = time.time()
        self.tokens = [(end, token) for end, token in self.tokens if end > now + 0.5]
        for each in fresh:
            for _, token in self.tokens:
                name = jwt.get_unverified_header(token)["kid"]
                # Those at their very end may pass it while this is looked at.
                options: Options = {"verify_exp": False}
                jwt.decode(token, each.keys[name], algorithms=["ES256"], audience="public", options=options)
        self.reported = [each.names for each in fresh]
        self.looks += 1


@contextmanager
def replicas(plane: ControlPlane) -> Iterator[tuple[Process, Process]]:
    flags = (
        *FLAGS,
        "--jwt-key-rotation=10s",
        "--jwt-ttl=8s",
        "--oidc-enabled",
        "--oidc-server-tls-enabled=false",
        "--oidc-server-listen-address=127.0.0.1",
        "--oidc-server-listen-port=0",
    )
    with plane.process(*flags) as one, plane.process(*flags) as two:
        yield one, two


@pytest.mark.uncovered
async def test_no_token_fails_to_verify_while_keys_are_rotated(plane: ControlPlane) -> None:
    """Two replicas under load that change their keys every 10 s, and are restarted hot besides.

    It ends when the first key has left both key sets and a third one signs. The ConfigMap is written by none of this:
    control planes of Dapr 1.16 to 1.18 notice one change of it only.
    """
    asking = await plane.shop()
    with replicas(plane) as pair:
        urls, authorities = [], []
        for process in pair:
            address = await trio.to_thread.run_sync(process.log_until, OIDC)
            urls.append(f"http://{address}/jwks.json")
            port = await started(process)
            authorities.append(plane.authority(port, await plane.anchors()))
        verifier = Verifier(tuple(urls))
        config_map = await plane.installation.get("configmaps")
        sender, shown = trio.open_memory_channel[None](0)

        async def call(authority: Authority) -> None:
            while True:
                obtained = await trio.to_thread.run_sync(partial(obtain, authority, asking))
                assert obtained.jwt is not None
                await trio.to_thread.run_sync(verifier.show, obtained.jwt)
                await sender.send(None)
                await trio.sleep(0.25)  # a caller's pace

        with trio.fail_after(180):
            async with trio.open_nursery() as load:
                for authority in authorities:
                    load.start_soon(call, authority)
                async for _ in shown:
                    await trio.to_thread.run_sync(verifier.look)
                    signing = list(verifier.signed)
                    if len(signing) >= 3 and not any(signing[0] in names for names in verifier.reported):
                        break
                    if verifier.looks % 10 == 0:
                        pair[verifier.looks // 10 % 2].send(signal.SIGHUP)
                load.cancel_scope.cancel()
        for process in pair:
            process.send(signal.SIGTERM)
            assert await trio.to_thread.run_sync(process.exit_code) == 0
        assert await plane.installation.get("configmaps") == config_map
        assert set(config_map["data"]) == {"ca.crt"}
        said = [str(record["msg"]) for process in pair for record in process.records]
        errors = [record for process in pair for record in process.records if record["level"] in {"error", "fatal"}]
    # There is no cluster DNS here.
    assert [each for each in errors if not str(each["msg"]).startswith("Error getting Kubernetes cluster domain")] == []
    # Each step was taken by one of the two; by both if they made the same plan, to the byte, in the same second.
    assert sum("is rotated from now on" in line for line in said) in {1, 2}
    assert sum("is published, and signs from" in line for line in said) in {len(signing) - 1, len(signing)}
    assert min(verifier.signed.values()) > 1
