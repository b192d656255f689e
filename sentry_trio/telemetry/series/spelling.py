"""How a gRPC status is spelled in a label."""

from grpclib.const import Status


def spelling(code: Status) -> str:
    """The status as gRPC libraries for Go and Prometheus dashboards spell it: `PermissionDenied`."""
    return "OK" if code is Status.OK else code.name.title().replace("_", "")
