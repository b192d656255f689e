"""`sentry-trio ca validate` and `preflight`: findings about a trust bundle, and whether it may replace another."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from msgspec.structs import replace

from sentry_trio.ca.bundle import StoredBundle, verify
from sentry_trio.ca.certificates import Certificate
from sentry_trio.ca.general_names import AlternativeNames
from sentry_trio.ca.generation import identity_of
from sentry_trio.ca.parts import Parts
from sentry_trio.ca.preflight import preflight
from sentry_trio.ca.renewal_record import RenewalRecord, digest_of, read_record, recorded_bundle
from sentry_trio.ca.renewal_state import read_state
from sentry_trio.ca.spiffe import SENTRY_APP_ID, SpiffeId, names_to_sign, parse_trust_domain
from sentry_trio.ca.strictness import Finding, Severity
from sentry_trio.ca.trust import Trust, trust_in_use
from sentry_trio.cli.ca.flags import CaOptions
from sentry_trio.cli.ca.overview import default_trust_domain, policy_of
from sentry_trio.cli.ca.places import Place
from sentry_trio.errors import Fault, InvalidBundleError, Part

_RELATIVE: Final = frozenset({"cut-leaves", "cut-consumers", "regression", "anchor-lost"})
_ASSUMED: Final = " (pass --trust-domain if the servers have another trust domain)"
_UNKNOWN: Final = " (compared with what is stored, which running processes may have rejected)"


class _InUse(NamedTuple):
    """Trust anchors and issuer chain in use, and the record of their renewals."""

    anchors: tuple[Certificate, ...]
    chain: tuple[Certificate, ...]
    record: RenewalRecord


def findings_alone(candidate: StoredBundle, options: CaOptions, now: datetime) -> tuple[Finding, ...]:
    """Returns the findings about a trust bundle by itself; errors first."""
    try:
        bundle = verify(candidate, now)
    except InvalidBundleError as error:
        return (Finding(error.fault or Fault.UNREADABLE, Severity.ERROR, str(error)),)
    trust = trust_in_use(
        bundle.anchors,
        bundle.chain,
        None,
        now=now,
        leaf_lifetime=options.workload_cert_ttl + options.allowed_clock_skew,
        grace=options.trust_anchor_propagation_grace,
        names=_names_to_sign(bundle.issuer, options),
    )
    return _preflight(candidate, trust, options, now)


async def findings_against(
    place: Place, stored: Parts, candidate: StoredBundle, options: CaOptions, now: datetime
) -> tuple[Finding, ...]:
    """Returns the findings about a trust bundle that is to replace the one in use.

    What is stored may be what running processes have rejected. They bring the record up to date with what they use, so
    if it does not fit, the authority that it names is in use.

    Args:
        place: store of the current one, which also counts the sidecars that use it.
        stored: what is stored there.
        candidate: the replacement.
        options: lifetimes, and how strict to be.
        now: the current time, aware.

    Raises:
        SentryError: the current one does not verify, or sidecars cannot be counted.
    """
    record = read_record(stored.get(Part.RECORD))
    is_noted = record is not None and record.digest == digest_of(stored)
    # Beside an authority that another program manages, no record is kept up to date.
    in_use = None if record is None or is_noted or await place.managed_by() else _recorded(record)
    trust = await _trust(place, in_use or _stored(stored, options, now), options, now)
    findings = _preflight(candidate, trust, options, now)
    if is_noted or in_use is not None:
        return findings
    return _with_note(findings, _RELATIVE, _UNKNOWN)


def _recorded(record: RenewalRecord) -> _InUse | None:
    """Returns the trust bundle in use by the record; None if that cannot be read."""
    bundle = recorded_bundle(record)
    return None if bundle is None else _InUse(*bundle, record)


def _stored(stored: Parts, options: CaOptions, now: datetime) -> _InUse:
    state = read_state(stored, policy_of(options, stored), now, is_published=True)
    return _InUse(state.bundle.anchors, state.bundle.chain, state.record)


async def _trust(place: Place, in_use: _InUse, options: CaOptions, now: datetime) -> Trust:
    sidecars = await place.sidecars({}, None, now)
    return trust_in_use(
        *in_use,
        now=now,
        leaf_lifetime=options.workload_cert_ttl + options.allowed_clock_skew,
        grace=options.trust_anchor_propagation_grace,
        held=None if sidecars is None else sidecars.held,
        roots=() if sidecars is None else sidecars.roots,
        remembered=options.ca_ttl,
        names=_names_to_sign(in_use.chain[0], options),
    )


def _names_to_sign(issuer: Certificate, options: CaOptions) -> AlternativeNames:
    """Returns the names that servers check; without a flag, the issuer's subject decides about the trust domain."""
    trust_domain = parse_trust_domain(options.trust_domain or identity_of(issuer)[0] or default_trust_domain(options))
    identity = SpiffeId.make(trust_domain, options.namespace, SENTRY_APP_ID)
    return names_to_sign(identity, in_cluster=options.in_cluster)


def _preflight(candidate: StoredBundle, trust: Trust, options: CaOptions, now: datetime) -> tuple[Finding, ...]:
    findings = preflight(candidate, trust, now, strict=options.strict)
    if options.trust_domain is None:
        return _with_note(findings, {Fault.NAME_CONSTRAINTS}, _ASSUMED)
    return findings


def _with_note(findings: Sequence[Finding], codes: Collection[str], note: str) -> tuple[Finding, ...]:
    """Returns the findings; those with one of the codes have a note at their end."""
    return tuple(replace(each, text=each.text + note) if each.code in codes else each for each in findings)


def has_errors(findings: Sequence[Finding]) -> bool:
    """Returns whether a finding forbids the use of a trust bundle."""
    return any(each.severity is Severity.ERROR for each in findings)


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Prints findings, or that there are none."""
    if as_json:
        rows = [{"code": each.code, "severity": each.severity.value, "text": each.text} for each in findings]
        print(json.dumps({"rejected": has_errors(findings), "findings": rows}, indent=2))
        return
    for each in findings:
        print(f"{each.severity.value}: {each.code}: {each.text}")
    if not findings:
        print("ok: no findings")
