"""Values that Dapr's own chart of 1.18.1 renders with: this chart renders with them, too, one key after the other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from testkit.helm.chart import Helm, HelmError, Values
from testkit.helm.dapr_chart import find_chart

_PEM: Final = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"

# Another value than the default for each key that the chart of Dapr has and Sentry reads. Keys of other components are
# changed by their kind.
_OTHER: Final[dict[str, Any]] = {
    "global.actors.serviceName": "scheduler",  # the only other valid name
    "global.daprControlPlaneArch": "arm64",
    "global.dnsSuffix": "k8s.example",
    "global.extraContainers": {"sentry": [{"name": "beside", "image": "registry.example/beside:1"}]},
    "global.extraVolumeMounts": {"sentry": [{"name": "more", "mountPath": "/more"}]},
    "global.extraVolumes": {"sentry": [{"name": "more", "emptyDir": {}}]},
    "global.ha.disruption.maximumUnavailable": 1,
    "global.ha.disruption.minimumAvailable": 2,
    "global.ha.podAntiAffinityPolicy": "requiredDuringSchedulingIgnoredDuringExecution",
    "global.imagePullPolicy": "Always",
    "global.imagePullSecrets": [{"name": "first"}],
    "global.initContainers": {"sentry": [{"name": "before", "image": "registry.example/before:1"}]},
    "global.issuerFilenames": {"ca": "ca.crt", "cert": "tls.crt", "key": "tls.key"},
    "global.labels": {"team": "mesh"},
    "global.mtls.allowedClockSkew": "5m",
    "global.mtls.sentryAddress": "sentry.example:443",
    "global.mtls.workloadCertTTL": "12h",
    "global.nodeSelector": {"disk": "ssd"},
    "global.prometheus.port": "9191",
    "global.reminders.serviceName": "scheduler",
    "global.seccompProfile": "RuntimeDefault",
    "global.tolerations": [{"key": "mesh", "operator": "Exists"}],
    "dapr_sentry.deploymentAnnotations": {"team": "mesh"},
    "dapr_sentry.extraEnvVars": {"LEVEL": 3},
    "dapr_sentry.image.name": "ghcr.io/dapr/sentry:1.18.1",
    "dapr_sentry.jwt.signingAlgorithm": "ES256",
    "dapr_sentry.livenessProbe.initialDelaySeconds": "60",
    "dapr_sentry.logLevel": "debug",
    "dapr_sentry.oidc.allowedHosts": ["a.example"],
    "dapr_sentry.oidc.server.port": "9443",
    "dapr_sentry.replicaCount": "3",
    "dapr_sentry.resources": {"limits": {"memory": "1Gi"}},
    "dapr_sentry.service.annotations": {"team": "mesh"},
    "dapr_sentry.service.type": "LoadBalancer",
}

# Values that Dapr's chart renders and this one rejects, each with a part of the error.
_REFUSED: Final = {
    "global.daprControlPlaneOs": "the image is for Linux nodes",
    "global.rbac.namespaced": "which no Role can grant",  # Dapr's Sentry then has missing permission to review tokens
    "dapr_sentry.mode": "set confirmStandalone=true",
    "dapr_sentry.oidc.enabled": "certFile and keyFile are needed",  # Dapr's Sentry does not start
    "dapr_sentry.tls.issuer.certPEM": "give all three or none",  # Dapr's chart drops what is given
    "dapr_sentry.tls.issuer.keyPEM": "give all three or none",
    "dapr_sentry.tls.root.certPEM": "give all three or none",
}
_OTHER_REFUSED: Final = {
    "global.daprControlPlaneOs": "windows",
    "dapr_sentry.mode": "standalone",
    "dapr_sentry.tls.issuer.certPEM": _PEM,
    "dapr_sentry.tls.issuer.keyPEM": _PEM,
    "dapr_sentry.tls.root.certPEM": _PEM,
}


def _defaults(chart: Path) -> Values:
    """The default values of Dapr's chart, as far as they concern Sentry."""
    found: Values = yaml.safe_load((chart / "values.yaml").read_text())
    for name in ("dapr_sentry", "dapr_config", "dapr_rbac"):
        found[name] = yaml.safe_load((chart / "charts" / name / "values.yaml").read_text()) or {}
    return found


def _leaves(values: Values, place: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value and key != "k8sLabels":
            yield from _leaves(value, f"{place}{key}.")
        else:
            yield f"{place}{key}", value


def _other(path: str, default: Any) -> Any:
    """Another value for a key."""
    if path in _OTHER:
        return _OTHER[path]
    if path in _OTHER_REFUSED:
        return _OTHER_REFUSED[path]
    by_kind: dict[type, Any] = {bool: not default, int: 7, str: "other", dict: {"team": "mesh"}, list: ["other"]}
    return by_kind[type(default)]


def _only(path: str, value: Any) -> Values:
    """A values file with one key."""
    found = value
    for part in reversed(path.split(".")):
        found = {part: found}
    assert isinstance(found, dict)
    return found


_KEYS: Final = dict(_leaves(_defaults(chart))) if (chart := find_chart()) else {}


@pytest.fixture(scope="module")
def theirs() -> Path:
    if (found := find_chart()) is None:
        pytest.skip("Dapr's chart cannot be had")
    return found


def test_the_defaults_of_daprs_chart(helm: Helm, theirs: Path) -> None:
    """The whole values file installs, and NOTES list only the name of Dapr's own image as without effect."""
    defaults = _defaults(theirs)
    assert helm.rendered(defaults).container["image"] == "sentry-trio:0.1.0"
    _, _, listed = helm.notes(defaults).partition("Values without effect:\n")
    (line,) = listed.partition("\n\n")[0].splitlines()
    assert line.strip().startswith("image.name: sentry is Dapr's own Sentry")


# One key after the other for `make test-soak`; those that are refused and those that Sentry reads always.
_EACH: Final = [
    path if path in _REFUSED or path in _OTHER else pytest.param(path, marks=pytest.mark.soak)
    for path in sorted({*_KEYS, *_OTHER})
]


@pytest.mark.parametrize("path", _EACH)
def test_another_value_of_a_key(helm: Helm, theirs: Path, path: str) -> None:
    given = _only(path, _other(path, _KEYS.get(path)))
    assert helm.run("template", "dapr", str(theirs), "--kube-version", "1.32.0", values=given)
    if path in _REFUSED:
        with pytest.raises(HelmError, match=_REFUSED[path]):
            helm.rendered(given)
    else:
        assert helm.rendered(given).objects


def test_rejected_values_are_in_daprs_chart(theirs: Path) -> None:
    assert _REFUSED.keys() <= _KEYS.keys()
    assert len(_KEYS) > 80
