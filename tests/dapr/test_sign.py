"""SignCertificate: identities, namespaces, trust domains and validators."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testkit.authorities import SKEW

from .asking import Client, clients, reply_fields
from .comparing import Seen, compare, shown_by
from .inputs import NAMESPACE, TRUST_DOMAIN, credentials, good_bundle, request
from .servers import Setting, pair

Clients = tuple[Client, Client]


@pytest.fixture(scope="module")
def both(dapr_sentry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    setting = Setting(
        files=credentials(good_bundle()),
        flags=("--trust-domain", TRUST_DOMAIN, "--enable-metrics=false"),
        environment={"NAMESPACE": NAMESPACE},
    )
    with pair(dapr_sentry, setting, tmp_path_factory.mktemp("sign")) as servers, clients(servers) as connected:
        yield connected


CASES: dict[str, dict[str, Any]] = {
    "as daprd asks": {},
    "upper case": {"id": "App-1_x"},
    "longest ID": {"id": "a" * 64},
    "ID too long": {"id": "a" * 65},
    "ID too long in bytes": {"id": "é" * 33},
    "no ID": {"id": ""},
    "ID with a dot": {"id": "my.app"},
    "ID of dots alone": {"id": ".."},
    "ID with a space": {"id": "my app"},
    "ID with a slash": {"id": "a/b"},
    "ID with a letter of another alphabet": {"id": "appé"},
    "ID with a colon": {"id": "default:app"},
    "ID with a NUL": {"id": "a\0b"},
    "no namespace": {"namespace": ""},
    "namespace with a dot": {"namespace": "a.b"},
    "namespace of dots alone": {"namespace": ".."},
    "namespace of one dot": {"namespace": "."},
    "namespace with a slash": {"namespace": "a/b"},
    "namespace in upper case": {"namespace": "Default"},
    "long namespace": {"namespace": "n" * 200},
    "very long namespace": {"namespace": "n" * 3000},
    "nothing": {"id": "", "namespace": "", "certificate_signing_request": b""},
    "nothing but an ID with a dot": {"id": "a.b", "namespace": "", "certificate_signing_request": b""},
    "trust domain": {"trust_domain": "mesh.example"},
    "trust domain of Sentry": {"trust_domain": TRUST_DOMAIN},
    "trust domain as SPIFFE ID": {"trust_domain": "spiffe://mesh.example"},
    "trust domain as SPIFFE ID with a path": {"trust_domain": "spiffe://mesh.example/ns/x"},
    "trust domain as SPIFFE ID with a trailing slash": {"trust_domain": "spiffe://mesh.example/"},
    "trust domain as SPIFFE ID with dots in the path": {"trust_domain": "spiffe://mesh.example/a/../b"},
    "trust domain with another scheme": {"trust_domain": "https://mesh.example"},
    "trust domain with a port": {"trust_domain": "mesh.example:443"},
    "trust domain in upper case": {"trust_domain": "Mesh.Example"},
    "trust domain with an underscore": {"trust_domain": "a_b"},
    "trust domain of one dot": {"trust_domain": "."},
    "trust domain with an empty label": {"trust_domain": "a..b"},
    "trust domain with a leading dot": {"trust_domain": ".a"},
    "trust domain with a trailing dot": {"trust_domain": "a."},
    "trust domain with a space": {"trust_domain": "a b"},
    "trust domain with a slash": {"trust_domain": "a/b"},
    "long trust domain": {"trust_domain": "a" * 300},
    "trust domain, no ID": {"trust_domain": "A", "id": ""},
    "injector": {"id": "dapr-injector", "namespace": NAMESPACE},
    "operator": {"id": "dapr-operator", "namespace": NAMESPACE},
    "scheduler": {"id": "dapr-scheduler", "namespace": NAMESPACE},
    "scheduler of another trust domain": {
        "id": "dapr-scheduler",
        "namespace": NAMESPACE,
        "trust_domain": "mesh.example",
    },
    "placement": {"id": "dapr-placement", "namespace": NAMESPACE},
    "Sentry itself": {"id": "dapr-sentry", "namespace": NAMESPACE},
    "injector elsewhere": {"id": "dapr-injector", "namespace": "default"},
    "scheduler elsewhere": {"id": "dapr-scheduler", "namespace": "default"},
    "token, which nobody reads": {"token": "abc"},
    "validator by name": {"token_validator": 1},
    "validator of Kubernetes": {"token_validator": 2},
    "validator of key sets": {"token_validator": 3},
    "unknown validator": {"token_validator": 4},
    "negative validator": {"token_validator": -1},
    "validator of key sets, no ID": {"token_validator": 3, "id": ""},
}


SEEN: Seen = {
    "bounded-fields": ("very long namespace",),
    "invalid-identity": (
        "ID with a space",
        "ID with a slash",
        "ID with a letter of another alphabet",
        "ID with a colon",
        "ID with a NUL",
        "namespace of dots alone",
        "namespace of one dot",
        "namespace with a slash",
        "trust domain of one dot",
        "trust domain with an empty label",
        "trust domain with a leading dot",
        "trust domain with a trailing dot",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_requests(both: Clients, name: str) -> None:
    asked = request(**CASES[name])
    dapr, ours = (reply_fields(client.ask(asked), SKEW) for client in both)
    compare(dapr, ours, differs=shown_by(SEEN, name))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    identity=st.text("aZ0-._ /:é", max_size=6),
    namespace=st.text("aZ0-._ /:é", max_size=6),
    trust_domain=st.text("aZ0-._ /:é", max_size=6),
    token_validator=st.integers(-1, 4),
)
def test_any_identity(both: Clients, identity: str, namespace: str, trust_domain: str, token_validator: int) -> None:
    asked = request(id=identity, namespace=namespace, trust_domain=trust_domain, token_validator=token_validator)
    dapr, ours = (reply_fields(client.ask(asked), SKEW) for client in both)
    compare(dapr, ours, may_differ=("invalid-identity",))
