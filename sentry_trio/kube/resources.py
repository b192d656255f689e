"""Where the API server keeps objects: paths from names that may come from anywhere."""

from dataclasses import dataclass

from sentry_trio.kube.claims import is_name


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of namespaced objects.

    Attributes:
        root: of its group and version, e.g. `/api/v1` or `/apis/dapr.io/v1alpha1`.
        plural: e.g. `pods`.
    """

    root: str
    plural: str

    def everywhere(self) -> str:
        """The path of all objects of all namespaces."""
        return f"{self.root}/{self.plural}"

    def object(self, namespace: str, name: str) -> str | None:
        """The path of an object; None where one of these is no name: there is no such object, and no path to it.

        Some names come from annotations, which must not choose a path.
        """
        if not (is_name(namespace) and is_name(name)):
            return None
        return f"{self.root}/namespaces/{namespace}/{self.plural}/{name}"
