"""The DNS names in the certificates of Dapr's control plane."""

_SCHEDULER_REPLICAS = 3


def dns_names(app_id: str, request_namespace: str, own_namespace: str, cluster_domain: str) -> tuple[str, ...]:
    """The DNS names that go with an app ID; none, except for three services in this authority's own namespace.

    Kubernetes' API server calls the injector and the operator by these names, and sidecars the scheduler's replicas.
    Dapr Sentry 1.18 names three replicas however many there are.

    Args:
        app_id: the app ID asked for.
        request_namespace: the namespace asked for.
        own_namespace: where this authority, and so the control plane, runs.
        cluster_domain: the domain of the cluster's services, e.g. `cluster.local`.
    """
    if request_namespace != own_namespace:
        return ()
    match app_id:
        case "dapr-injector":
            return (f"dapr-sidecar-injector.{own_namespace}.svc",)
        case "dapr-operator":
            return (f"dapr-webhook.{own_namespace}.svc",)
        case "dapr-scheduler":
            service = f"dapr-scheduler-server.{own_namespace}.svc.{cluster_domain}"
            return tuple(f"dapr-scheduler-server-{replica}.{service}" for replica in range(_SCHEDULER_REPLICAS))
        case _:
            return ()
