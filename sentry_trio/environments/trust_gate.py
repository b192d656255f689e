"""Gate for trust bundles: rejects one that would cut off clients of the one in use."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.certificates import Certificate, fingerprint, read_certificates
from sentry_trio.ca.parts import Parts, bundle_of
from sentry_trio.ca.preflight import preflight
from sentry_trio.ca.renewal import RenewalPolicy
from sentry_trio.ca.renewal_record import RenewalRecord, digest_of, read_record
from sentry_trio.ca.strictness import Finding
from sentry_trio.ca.trust import AnchorSet, IssuerInUse, trust_in_use
from sentry_trio.errors import InvalidBundleError, Part, TrustCutError
from sentry_trio.event_reasons import EventReason
from sentry_trio.stores.part_store import PartStore
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from sentry_trio.environments.environment import Environment

_CUTS: Final = frozenset({"cut-leaves", "cut-consumers", "regression"})

_log: Final = get_logger("dapr.sentry.ca")


class TrustGate:
    """Rejects trust bundles that cut off clients; outlives the runs.

    While a run serves, a bundle that cuts is rejected like any other bad edit. When a process starts there is no other
    bundle, so it is used, and, if there is a record of renewals, that is reported.

    An issuer that was in use counts as having signed until its last certificate would have expired, because replicas
    and earlier processes sign, too. If clients cannot be measured and no record of renewals names the trust anchors
    that were published, those that this process has published count as held by clients for the lifetime of an
    authority.

    Args:
        environment: knows what clients hold.
        allowed: fingerprint of the one trust bundle that may cut; empty for none.
        metrics: count findings.
        now: the wall clock, aware.
    """

    def __init__(
        self, environment: "Environment", *, allowed: str, metrics: Metrics, now: Callable[[], datetime]
    ) -> None:
        self._environment = environment
        self._allowed = allowed
        self._metrics = metrics
        self._now = now
        self._in_use: TrustBundle | None = None
        self._record: RenewalRecord | None = None
        self._leaf_lifetime = timedelta()
        self._unused: str | None = None
        self._issuers: list[IssuerInUse] = []
        self._anchor_sets: list[tuple[AnchorSet, datetime]] = []

    def generated(self, bundle: TrustBundle) -> None:
        """Records that this process has generated the bundle and that no other process signs with it.

        Nobody is cut off if it is replaced before the first signing request.
        """
        self._unused = bundle.fingerprint

    def use(self, stored: Parts, bundle: TrustBundle, policy: RenewalPolicy) -> None:
        """Records that a run signs with this bundle from now on."""
        lifetime = policy.workload_ttl + policy.allowed_clock_skew
        if self._in_use is not None and not self._is_unused():
            self._remember(self._in_use, bundle, lifetime, policy.lifetime)
        self._in_use, self._leaf_lifetime = bundle, lifetime
        self._record = read_record(stored.get(Part.RECORD)) or self._record

    def _remember(
        self, replaced: TrustBundle, bundle: TrustBundle, leaf_lifetime: timedelta, remembered: timedelta
    ) -> None:
        now = self._now()
        if replaced.chain != bundle.chain or leaf_lifetime < self._leaf_lifetime:
            self._issuers = [each for each in self._issuers if each.until >= now]
            self._issuers.append(IssuerInUse(replaced.chain, replaced.anchors, now + self._leaf_lifetime))
        if replaced.anchors != bundle.anchors:
            held = AnchorSet(replaced.anchors, (f"clients that started before {now:%Y-%m-%dT%H:%M:%SZ}",))
            self._anchor_sets = [(each, until) for each, until in self._anchor_sets if until >= now]
            self._anchor_sets.append((held, now + remembered))

    def _is_unused(self) -> bool:
        if self._in_use is None or self._metrics.has_received_csr:
            return False
        return self._in_use.fingerprint == self._unused

    def check(
        self, store: PartStore, stored: Parts, bundle: TrustBundle, policy: RenewalPolicy, *, quietly: bool = False
    ) -> None:
        """Checks that a verified trust bundle cuts off no client.

        Args:
            store: holds it, for texts.
            stored: all parts.
            bundle: the trust bundle in them.
            policy: how renewals are done.
            quietly: true to neither report nor count a rejection.

        Raises:
            TrustCutError: it does, while another is in use.
        """
        record = read_record(stored.get(Part.RECORD))
        if record is not None and not self._is_known_to(record):
            record = None  # a backup's, which would have all of it count as stored by a step
        if record is not None and record.digest == digest_of(stored):
            return  # a step of a renewal, or a command, has stored it
        record = record or self._record
        in_use = _in_use(self._in_use, record)
        if in_use is None or self._is_unused():
            return
        if bundle.anchors == tuple(in_use[0]) and bundle.chain == tuple(in_use[1]):
            return
        findings = self._findings(stored, in_use, record, policy)
        if findings:
            self._report(store, bundle, findings, quietly=quietly)

    def _is_known_to(self, record: RenewalRecord) -> bool:
        """Returns True if the writer of the record knew the issuer in use."""
        known = {record.present.issuer, *(each.issuer for each in record.former)}
        return self._in_use is None or fingerprint(self._in_use.issuer) in known

    def _findings(
        self,
        stored: Parts,
        in_use: tuple[Sequence[Certificate], Sequence[Certificate]],
        record: RenewalRecord | None,
        policy: RenewalPolicy,
    ) -> list[Finding]:
        now, held = self._now(), self._environment.anchor_sets()
        trust = trust_in_use(
            *in_use,
            record,
            now=now,
            leaf_lifetime=max(self._leaf_lifetime, policy.workload_ttl + policy.allowed_clock_skew),
            grace=policy.grace,
            held=held,
            roots=self._environment.held_roots(),
            remembered=policy.lifetime,
        )
        issuers = (each for each in self._issuers if each.until >= now)
        is_unknown = held is None and record is None
        published = (each for each, until in self._anchor_sets if is_unknown and until >= now)
        trust = replace(trust, issuers=(*trust.issuers, *issuers), anchor_sets=(*trust.anchor_sets, *published))
        return [each for each in preflight(bundle_of(stored), trust, now) if each.code in _CUTS]

    def _report(self, store: PartStore, bundle: TrustBundle, findings: Sequence[Finding], *, quietly: bool) -> None:
        reasons = "; ".join(each.text for each in findings)
        if bundle.fingerprint == self._allowed:
            _log.warning(f"the trust bundle cuts off clients, as --allow-trust-cut permits: {reasons}")
            return
        if not quietly:
            for each in findings:
                self._metrics.trust_bundle_refused(each.code)
        text = f"the trust bundle in {store.place} would cut off clients: {reasons}"
        if self._in_use is None:
            text = f"the trust bundle in {store.place} cuts off clients, but there is no other: {reasons}"
            _log.warning(text)
            self._environment.notify(EventReason.TRUST_CUT, text)
            return
        if not quietly:
            self._environment.notify(EventReason.TRUST_CUT_REFUSED, text)
        raise TrustCutError(
            f"{text}; to use it anyway, start every replica with --allow-trust-cut={bundle.fingerprint}",
            Part.ANCHORS,
            Part.CHAIN,
            reasons=frozenset((each.code, each.about) for each in findings),
        )


def _in_use(
    bundle: TrustBundle | None, record: RenewalRecord | None
) -> tuple[Sequence[Certificate], Sequence[Certificate]] | None:
    """Returns anchors and chain of the bundle that was used last; None if it is not known."""
    if bundle is not None:
        return bundle.anchors, bundle.chain
    if record is None:
        return None
    present = record.present
    try:
        return read_certificates(present.anchors.encode()), read_certificates(present.chain.encode())
    except InvalidBundleError:
        return None
