"""JWTs: the rotation of their signing keys."""

from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter

JwtKeyState = Literal["noted", "published", "signing", "gone"]
"""What has become of a JWT signing key: it is rotated from now on, known to all, in use, no longer known."""


class JwtSeries:
    """The series of JWT signing keys.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._jwt_key_steps = Counter(
            "sentry_jwt_key_rotation_steps_total",
            "Steps of the rotation of JWT signing keys that were stored, by the state that a key is in since.",
            ["state"],
            registry=registry,
        )
        self._jwt_rotation_failures = Counter(
            "sentry_jwt_key_rotation_failures_total",
            "Steps of the rotation of JWT signing keys that could not be stored.",
            registry=registry,
        )
        for state in get_args(JwtKeyState):
            self._jwt_key_steps.labels(state)

    def jwt_rotated(self, state: JwtKeyState) -> None:
        """A signing key is in this state from now on, by what is stored."""
        self._jwt_key_steps.labels(state).inc()

    def jwt_rotation_failed(self) -> None:
        """What the plan of the signing keys' rotation asks for could not be stored; it is tried again."""
        self._jwt_rotation_failures.inc()
