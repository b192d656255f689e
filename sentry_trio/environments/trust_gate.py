"""Gate for trust bundles: rejects one that would cut off clients of the one in use."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.certificates import Certificate, fingerprint, has_signed, shown
from sentry_trio.ca.parts import Parts, bundle_of
from sentry_trio.ca.preflight import preflight
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_record import (
    RenewalRecord,
    digest_of,
    read_record,
    recorded_bundle,
    with_present,
    with_published,
)
from sentry_trio.ca.strictness import Finding, Severity
from sentry_trio.ca.trust import AnchorSet, IssuerInUse, trust_in_use
from sentry_trio.environments.renewal import RenewalOfRun
from sentry_trio.environments.workloads import Workloads
from sentry_trio.errors import Part, TrustCutError
from sentry_trio.event_reasons import EventReason
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics

_CUT_LEAVES: Final = "cut-leaves"
_CONSIDERED: Final = frozenset({_CUT_LEAVES, "cut-consumers", "regression", "short-bridge"})
_REMEMBERED: Final = 64
_SHOWN: Final = 10

_log: Final = get_logger("dapr.sentry.ca")


class TrustGate:
    """Rejects trust bundles that cut off clients; outlives the runs.

    While a run serves, a bundle that cuts is rejected like any other bad edit, unless --allow-trust-cut or the stored
    record of renewals names it. The record must know the issuer in use, too: that of a backup does not.
    When a process starts there is no other bundle, so it is used, and, if there is a record, that is reported.

    An issuer that was in use counts as having signed until its last certificate would have expired, because replicas
    and earlier processes sign, too. For that time after the start no trust anchor may be removed unless the record
    names the issuers of earlier processes. If clients cannot be measured and no record names the trust anchors
    that were published, those that this process has published count as held by clients for the lifetime of an
    authority.

    Args:
        workloads: the trust anchors that they hold.
        notify: reports an event to operators.
        allowed: fingerprint of the one trust bundle that may cut; empty for none.
        metrics: count findings.
        now: the wall clock, aware.
    """

    def __init__(
        self,
        workloads: Workloads,
        notify: Callable[[EventReason, str], None],
        *,
        allowed: str,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._workloads = workloads
        self._notify = notify
        self._allowed = allowed
        self._metrics = metrics
        self._now = now
        self._in_use: TrustBundle | None = None
        self._read: bytes | None = None  # the record as it was stored, of which `_record` was made
        self._record: RenewalRecord | None = None
        self._leaf_lifetime = timedelta()
        self._unused: str | None = None
        self._anchors_at_start: tuple[Certificate, ...] = ()
        self._settled: datetime | None = None
        self._issuers: dict[tuple[Certificate, ...], datetime] = {}  # chains; end of their last certificates
        self._anchor_sets: dict[tuple[Certificate, ...], datetime] = {}  # when they were replaced

    def generated(self, bundle: TrustBundle) -> None:
        """Records that this process has generated the bundle and that no other process signs with it.

        Nobody is cut off if it is replaced before the first signing request.
        """
        self._unused = bundle.fingerprint

    def request_arrived(self) -> None:
        """Records a signing request."""
        self._unused = None

    def use(self, renewal: RenewalOfRun) -> None:
        """Records that a run signs with this bundle from now on."""
        stored, bundle, policy = renewal.stored, renewal.bundle, renewal.policy
        lifetime = policy.workload_ttl + policy.allowed_clock_skew
        if self._in_use is None:
            self._remember_start(stored, bundle, lifetime)
        elif not self._is_unused():
            self._remember(self._in_use, bundle, lifetime)
        self._in_use, self._leaf_lifetime = bundle, lifetime
        self._update_record(stored.get(Part.RECORD), bundle, policy)

    def _remember_start(self, stored: Parts, bundle: TrustBundle, leaf_lifetime: timedelta) -> None:
        record = read_record(stored.get(Part.RECORD))
        if record is None or record.digest != digest_of(stored):
            self._anchors_at_start, self._settled = bundle.anchors, self._now() + leaf_lifetime

    def _remember(self, replaced: TrustBundle, bundle: TrustBundle, leaf_lifetime: timedelta) -> None:
        now = self._now()
        if replaced.chain != bundle.chain or leaf_lifetime < self._leaf_lifetime:
            _put(self._issuers, replaced.chain, now + self._leaf_lifetime)
        if replaced.anchors != bundle.anchors:
            _put(self._anchor_sets, replaced.anchors, now)

    def _update_record(self, content: bytes | None, bundle: TrustBundle, policy: RenewalPolicy) -> None:
        """Adds the bundle in use to the record in memory, even if no replica can store it.

        A former issuer that is still the current one of the stored record signs no more from now on.
        """
        record = self._record
        if content != self._read:
            record = read_record(content) or record
        self._read = content
        if record is not None:
            record = msgspec.structs.replace(
                record,
                workload_ttl=max(record.workload_ttl, policy.workload_ttl),
                allowed_clock_skew=max(record.allowed_clock_skew, policy.allowed_clock_skew),
            )
            now = self._now()
            self._record = with_published(with_present(record, bundle, now), bundle, now)

    def _is_unused(self) -> bool:
        return self._in_use is not None and self._in_use.fingerprint == self._unused

    def check(self, candidate: RenewalOfRun, *, clock_lead: timedelta = timedelta(), quietly: bool = False) -> None:
        """Checks that a verified trust bundle cuts off no client.

        Args:
            candidate: has the trust bundle.
            clock_lead: lead of a wall clock that may be wrong; the bundle must cut off no client without it, either.
            quietly: true to neither report nor count a rejection.

        Raises:
            TrustCutError: it does, while another is in use.
        """
        bundle, content = candidate.bundle, candidate.stored.get(Part.RECORD)
        record = read_record(content)
        if record is not None and not self._is_current(record):
            record = None  # a backup's, or that of a replica that uses another authority
        is_accepted = record is not None and record.accepted_cut == bundle.fingerprint
        if record is None or content == self._read:
            record = self._record
        in_use = _in_use(self._in_use, record)
        if in_use is None or self._is_unused():
            return
        if bundle.anchors == in_use[0] and bundle.chain == in_use[1]:
            return
        now = self._now()
        findings = self._findings(candidate, in_use, record, now)
        if clock_lead and self._in_use is not None and not _errors(findings):
            findings = self._findings(candidate, in_use, record, max(now - clock_lead, bundle.not_before))
        cuts = _errors(findings)
        if cuts:
            self._report(candidate.store.place, bundle, cuts, is_accepted=is_accepted, quietly=quietly)
        elif findings and not quietly:
            _log.warning(f"the new trust bundle cuts off clients later: {_reasons(findings)}")

    def _is_current(self, record: RenewalRecord) -> bool:
        """Returns true if the record names the issuer in use, and not from before it began to sign again."""
        if self._in_use is None:
            return True
        issuer = fingerprint(self._in_use.issuer)
        named = next((each for each in record.former if each.issuer == issuer), None)
        if named is None or named.until is None or self._record is None:
            return record.knows(self._in_use)
        # Replicas wrote the two times, and their clocks differ.
        return named.until + record.allowed_clock_skew >= self._record.present.since

    def _findings(
        self,
        candidate: RenewalOfRun,
        in_use: tuple[tuple[Certificate, ...], tuple[Certificate, ...]],
        record: RenewalRecord | None,
        now: datetime,
    ) -> list[Finding]:
        policy = candidate.policy
        held = self._workloads.anchor_sets()
        trust = trust_in_use(
            *in_use,
            record,
            now=now,
            leaf_lifetime=max(self._leaf_lifetime, policy.workload_ttl + policy.allowed_clock_skew),
            grace=policy.grace,
            held=held,
            roots=self._workloads.held_roots(),
            remembered=policy.lifetime,
        )
        # Clients verify with the anchors in use: those cut off before are not cut off now.
        issuers = (IssuerInUse(chain, in_use[0], until) for chain, until in self._issuers.items() if until >= now)
        is_unknown = held is None and record is None
        published = self._published(now - policy.lifetime) if is_unknown else ()
        trust = replace(trust, issuers=(*trust.issuers, *issuers), anchor_sets=(*trust.anchor_sets, *published))
        findings = [each for each in preflight(bundle_of(candidate.stored), trust, now) if each.code in _CONSIDERED]
        if any(each.code == _CUT_LEAVES for each in findings):
            return findings
        return [*findings, *self._lost_since_start(candidate.bundle, now)]

    def _published(self, earliest: datetime) -> Iterator[AnchorSet]:
        for anchors, replaced in self._anchor_sets.items():
            if replaced >= earliest:
                yield AnchorSet(anchors, (f"clients that started before {replaced:%Y-%m-%dT%H:%M:%SZ}",))

    def _lost_since_start(self, bundle: TrustBundle, now: datetime) -> Iterator[Finding]:
        """Yields the trust anchors whose issuers may have signed before this process started."""
        for each in self._anchors_at_start:
            until = min(self._settled or now, each.not_after)
            is_kept = any(has_signed(other, each) and until <= other.not_after for other in bundle.anchors)
            if now < until and not is_kept:
                yield Finding(
                    _CUT_LEAVES,
                    Severity.ERROR,
                    f'trust anchor "{shown(each)}" is missing: certificates that were signed under it before this '
                    f"process started may be valid until {until:%Y-%m-%dT%H:%M:%SZ}; keep it until then",
                    about=fingerprint(each),
                )

    def _report(
        self, place: str, bundle: TrustBundle, findings: Sequence[Finding], *, is_accepted: bool, quietly: bool
    ) -> None:
        reasons = _reasons(findings)
        if is_accepted or bundle.fingerprint == self._allowed:
            permit = "the step or command that stored it" if is_accepted else "--allow-trust-cut"
            _log.warning(f"the trust bundle cuts off clients, as {permit} permits: {reasons}")
            return
        if self._in_use is None:
            text = f"the trust bundle in {place} cuts off clients, but there is no other: {reasons}"
            _log.warning(text)
            self._notify(EventReason.TRUST_CUT, text)
            return
        text = f"the trust bundle in {place} would cut off clients: {reasons}"
        if not quietly:
            for each in findings:
                self._metrics.trust_bundle_refused(each.code)
            self._notify(EventReason.TRUST_CUT_REFUSED, text)
        raise TrustCutError(
            f"{text}; to use it anyway, start every replica with --allow-trust-cut={bundle.fingerprint}",
            Part.ANCHORS,
            Part.CHAIN,
            reasons=frozenset((each.code, each.about) for each in findings),
        )


def _errors(findings: Sequence[Finding]) -> list[Finding]:
    return [each for each in findings if each.severity is Severity.ERROR]


def _reasons(findings: Sequence[Finding]) -> str:
    more = f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
    return "; ".join(each.text for each in findings[:_SHOWN]) + more


def _put(times: dict[tuple[Certificate, ...], datetime], key: tuple[Certificate, ...], moment: datetime) -> None:
    """Sets or extends a time, and forgets the oldest of too many."""
    times[key] = max(moment, times.pop(key, moment))
    while len(times) > _REMEMBERED:
        del times[next(iter(times))]


def _in_use(
    bundle: TrustBundle | None, record: RenewalRecord | None
) -> tuple[tuple[Certificate, ...], tuple[Certificate, ...]] | None:
    """Returns anchors and chain of the bundle that was used last; None if it is not known."""
    if bundle is not None:
        return bundle.anchors, bundle.chain
    return None if record is None else recorded_bundle(record)
