"""Which build of the program this is."""

from prometheus_client import CollectorRegistry, Gauge

from sentry_trio import __version__


class BuildSeries:
    """What is the same for the life of a process, and there from its first moment: this is what tells a Sentry apart.

    Args:
        registry: where it is registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        build = Gauge(
            "sentry_build_info", "1, labelled with the version of sentry-trio.", ["version"], registry=registry
        )
        build.labels(__version__).set(1)
