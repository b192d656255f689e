"""DNS names of the control plane."""

import pytest

from sentry_trio.ca.spiffe import dns_names

SCHEDULER = "dapr-scheduler-server.dapr-system.svc.cluster.local"


@pytest.mark.parametrize(
    ("app_id", "namespace", "names"),
    [
        ("dapr-injector", "dapr-system", ("dapr-sidecar-injector.dapr-system.svc",)),
        ("dapr-operator", "dapr-system", ("dapr-webhook.dapr-system.svc",)),
        ("dapr-scheduler", "dapr-system", tuple(f"dapr-scheduler-server-{number}.{SCHEDULER}" for number in (0, 1, 2))),
        ("dapr-sentry", "dapr-system", ()),
        ("dapr-placement", "dapr-system", ()),
        ("app", "dapr-system", ()),
        ("Dapr-Injector", "dapr-system", ()),
        ("dapr-injector", "default", ()),
        ("dapr-operator", "", ()),
        ("dapr-scheduler", "dapr-system2", ()),
    ],
)
def test_names(app_id: str, namespace: str, names: tuple[str, ...]) -> None:
    assert dns_names(app_id, namespace, "dapr-system", "cluster.local") == names
