"""Workloads of a mesh, as far as an environment knows them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sentry_trio.ca.certificates import Certificate

if TYPE_CHECKING:
    from sentry_trio.kube.uptake import Uptake


class Workloads:
    """Workloads and the trust anchors that they hold. Nothing is known of them, unless a subclass does."""

    def anchor_sets(self) -> Mapping[frozenset[str], tuple[str, ...]] | None:
        """Returns the sets of trust anchors that workloads keep while they run, by fingerprints, with their holders.

        None if nothing is known of the workloads.
        """
        return None

    def held_roots(self) -> Sequence[Certificate]:
        """Returns the trust anchors in these sets, as far as they are known."""
        return ()

    def uptake(
        self,
        roots: Mapping[str, datetime],  # noqa: ARG002  # for subclasses
        published_at: datetime | None,  # noqa: ARG002
    ) -> "Uptake | None":
        """Counts sidecars by the roots that they hold; None if nothing is known of them.

        Args:
            roots: fingerprints of the roots made here, the newest first, and when sidecars that hold one alone are cut
                off.
            published_at: time at which the newest was published; None if it is the only one.
        """
        return None
