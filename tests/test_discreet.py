"""Private keys, passphrases and tokens do not appear when a record that holds them is shown, also inside of others."""

import importlib
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from rich.pretty import pretty_repr

import sentry_trio
from sentry_trio.ca.jwt_key import JwtKeys, SigningKey
from sentry_trio.cli.files import FileContent
from sentry_trio.client import Obtained
from sentry_trio.discreet import Discreet
from sentry_trio.environments.renewal import RenewalOfRun
from sentry_trio.kube.transport import ApiRequest

SECRET = "-----BEGIN PRIVATE KEY-----"
HIDDEN = {
    "Block": {"der"},
    "Leaf": {"key"},
    "NewBundle": {"key", "root_key"},
    "ObtainedJwt": {"token"},
    "OpenedJwtKeys": {"stored", "rotate"},
    "Plan": {"changes"},
    "RunInputs": {"watch", "request_arrived"},
    "SidecarAnchors": {"text"},
    "Signer": {"key"},
    "Situation": {"passphrase", "offline_root_key"},
    "State": {"stored"},
    "StoredBundle": {"key"},
    "StoredJwtKey": {"key"},
    "TrustBundle": {"key"},
    "Workload": {"token"},
    "_Content": {"parts"},
    "_Snapshot": {"files", "temporaries"},
}


class Pair(Discreet, frozen=True):
    UNSHOWN = frozenset({"key"})

    name: str
    key: str


class Outer(msgspec.Struct):
    inner: object


def discreet_records() -> list[type[Discreet]]:
    for module in pkgutil.walk_packages(sentry_trio.__path__, "sentry_trio."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return [each for each in subclasses(Discreet) if each.__module__.startswith("sentry_trio.")]


def subclasses(record: type[Discreet]) -> Iterator[type[Discreet]]:
    for each in record.__subclasses__():
        yield each
        yield from subclasses(each)


def texts(record: object) -> str:
    """Every text of a record, alone and in others."""
    nested = [record, (record,), {"key": record}, Outer(record), Pair(record, "")]  # type: ignore[arg-type]
    return "".join([*map(repr, nested), *map(str, nested)])


def test_the_other_fields_are_shown() -> None:
    pair = Pair("cart", SECRET)
    assert repr(pair) == str(pair) == pretty_repr(pair) == "Pair(name='cart')"
    assert repr(Outer((pair,))) == "Outer(inner=(Pair(name='cart'),))"
    assert repr(Pair(Pair("cart", SECRET), "")) == "Pair(name=Pair(name='cart'))"  # type: ignore[arg-type]


def test_the_hidden_fields_of_each_record() -> None:
    assert {each.__name__: set(each.UNSHOWN) for each in discreet_records()} == HIDDEN


@pytest.mark.parametrize("record", discreet_records(), ids=lambda record: record.__name__)
@pytest.mark.parametrize("secret", [SECRET, SECRET.encode(), {"issuer.key": SECRET}], ids=["text", "bytes", "parts"])
def test_hidden_fields(record: type[Discreet], secret: object) -> None:
    fields: tuple[str, ...] = record.__struct_fields__
    values: dict[str, Any] = {name: secret if name in record.UNSHOWN else f"<{name}>" for name in fields}
    made = record(**values)
    shown = ", ".join(f"{name}='<{name}>'" for name in fields if name not in record.UNSHOWN)
    assert repr(made) == f"{record.__name__}({shown})"
    assert "PRIVATE" not in texts(made) + pretty_repr([made], expand_all=True)


SIGNING_KEY = SigningKey(SECRET, "key-1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "record",
    [
        SIGNING_KEY,
        JwtKeys((SIGNING_KEY,), "RS256", SECRET),  # type: ignore[arg-type]
        RenewalOfRun(store=None, stored={"issuer.key": SECRET}, bundle=None, policy=None),  # type: ignore[arg-type, dict-item]
        FileContent(SECRET.encode(), 0o600),
        ApiRequest("PUT", "/api/v1/namespaces/dapr-system/secrets/x", {}, SECRET.encode()),
        Obtained(
            key=SECRET.encode(),
            chain=b"",
            anchors=b"",
            certificate=None,  # type: ignore[arg-type]
            spiffe_id="spiffe://td/ns/default/cart",
            valid_until=datetime(2030, 1, 1, tzinfo=UTC),
            jwt=SECRET,
            audience_jwts={"x": SECRET},
        ),
    ],
    ids=lambda record: type(record).__name__,
)
def test_records_with_a_text_of_their_own(record: object) -> None:
    assert "PRIVATE" not in texts(record)
