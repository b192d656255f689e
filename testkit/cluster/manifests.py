"""Objects as people would write them."""

from collections.abc import Iterable, Mapping

from .admin import Manifest

CONTROL_PLANE_GROUP = "rbac.authorization.k8s.io"


def namespace(name: str) -> Manifest:
    return {"metadata": {"name": name}}


def service_account(name: str) -> Manifest:
    return {"metadata": {"name": name}}


def pod(
    name: str,
    *,
    service_account: str = "default",
    annotations: Mapping[str, str] | None = None,
    containers: Iterable[Manifest] = ({"name": "app", "image": "registry.example/app:1"},),
    init_containers: Iterable[Manifest] = (),
) -> Manifest:
    return {
        "metadata": {"name": name, "annotations": dict(annotations or {})},
        "spec": {
            "serviceAccountName": service_account,
            "containers": list(containers),
            "initContainers": list(init_containers),
        },
    }


def configuration(name: str, spec: Manifest) -> Manifest:
    """A Dapr Configuration."""
    return {"apiVersion": "dapr.io/v1alpha1", "kind": "Configuration", "metadata": {"name": name}, "spec": spec}


def rule(verbs: Iterable[str], resources: Iterable[str], *, group: str = "", names: Iterable[str] = ()) -> Manifest:
    """A rule of a role; `names` limits it to objects so named."""
    rule: Manifest = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    return rule | ({"resourceNames": list(names)} if names else {})


def role(name: str, rules: Iterable[Manifest]) -> Manifest:
    """A Role or a ClusterRole."""
    return {"metadata": {"name": name}, "rules": list(rules)}


def binding(name: str, kind: str, namespace: str, service_account: str) -> Manifest:
    """Gives the role of that name and kind to a service account."""
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": CONTROL_PLANE_GROUP, "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": service_account}],
    }


# The API server needs this to keep Dapr's Configurations; it ignores their contents.
CONFIGURATION_CRD: Manifest = {
    "metadata": {"name": "configurations.dapr.io"},
    "spec": {
        "group": "dapr.io",
        "scope": "Namespaced",
        "names": {"kind": "Configuration", "plural": "configurations", "singular": "configuration"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}
