"""`sentry-trio ca show`: phase of the renewal, next step, and sidecars that have to restart."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final

import msgspec

from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.certificates import fingerprint, read_certificates, shown
from sentry_trio.ca.generation import identity_of
from sentry_trio.ca.lineage import root_ends
from sentry_trio.ca.parts import Parts
from sentry_trio.ca.renewal import Plan, Situation, plan
from sentry_trio.ca.renewal_next import roots_made_here
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_record import RenewalRecord, read_record
from sentry_trio.ca.renewal_state import read_state
from sentry_trio.ca.root_key import named_root
from sentry_trio.cli.ca.flags import CaOptions
from sentry_trio.cli.ca.places import HeldAnchors, Place
from sentry_trio.errors import InvalidBundleError, Part
from sentry_trio.kube.uptake import Uptake
from sentry_trio.renewal_status import STEP_TEXTS, AnchorsHeld, Phase
from sentry_trio.settings.options import DEFAULT_TRUST_DOMAIN
from sentry_trio.stores.passphrase import read_passphrase
from sentry_trio.telemetry.logs import shown_time

_DOMAIN_OF_CHART: Final = "cluster.local"  # if its values name no other
_MOST_PODS: Final = 20
_SIDECARS: Final = {
    AnchorsHeld.CURRENT: "have the newest root",
    AnchorsHeld.FORMER: "only former roots",
    AnchorsHeld.NONE: "other roots",
    AnchorsHeld.FILE: "read roots from a file",
}
_PHASES: Final[Mapping[Phase, str]] = {
    Phase.STEADY: "one generation is in use",
    Phase.DISTRIBUTING: "the next root is published; its issuer does not sign yet",
    Phase.SIGNING: "the next issuer signs; 'ca rotate --rollback' restores the previous one",
    Phase.RETIRING: "the previous issuer's key is erased",
}


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """State of a certificate authority and of its renewal.

    Attributes:
        place: where it is stored.
        namespace: of Dapr's control plane.
        plan: the phase, and the next step.
        bundle: the trust bundle.
        since: time at which the issuer began to sign; None if unknown.
        is_expired: true if the issuer has expired.
        uptake: the roots that sidecars hold; None if nothing is known of them.
        held: sets of roots in running pods, by fingerprints, and these pods.
    """

    place: str
    namespace: str
    plan: Plan
    bundle: TrustBundle
    since: datetime | None
    is_expired: bool
    uptake: Uptake | None
    held: HeldAnchors

    @property
    def needs_attention(self) -> bool:
        """True if the issuer has expired, a step is held, or the injector is stale."""
        is_injector_stale = self.uptake is not None and self.uptake.injector_stale
        return self.is_expired or self.plan.held is not None or is_injector_stale

    @property
    def bridge_end(self) -> datetime | None:
        """Time at which sidecars with only former roots are cut off, even if there are none."""
        first_end = None if self.uptake is None else self.uptake.first_end
        return first_end or self.plan.bridge_end


async def survey(place: Place, options: CaOptions, now: datetime) -> Overview:
    """Reads the state of a certificate authority; nothing is written.

    Raises:
        SentryError: there is no trust bundle, or it cannot be read or verified.
    """
    stored = await place.read()
    policy = policy_of(options, stored)
    situation = Situation(
        now=now,
        is_published=await place.is_published(stored),
        managed_by=await place.managed_by(),
        passphrase=root_passphrase(options),
    )
    state = read_state(stored, policy, now, is_published=situation.is_published)
    published = state.record.published
    bundle = state.bundle
    roots = root_ends(bundle.anchors, bundle.chain, roots_made_here(stored, bundle), now)
    sidecars = await place.sidecars(roots, published[-1].since if len(published) > 1 else None, now)
    return Overview(
        place=place.name,
        namespace=options.namespace,
        plan=plan(stored, policy, situation),
        bundle=bundle,
        since=_since(stored, state.record),
        is_expired=state.is_expired,
        uptake=None if sidecars is None else sidecars.uptake,
        held={} if sidecars is None else sidecars.held,
    )


def _since(stored: Parts, record: RenewalRecord) -> datetime | None:
    """Returns the time at which the issuer began to sign, if a renewal has recorded it.

    The time of a first generation is that of the record: it began before.
    """
    known = read_record(stored.get(Part.RECORD))
    is_noted = known is not None and known.former and known.present.issuer == record.present.issuer
    return record.present.since if is_noted else None


def show(overview: Overview, *, as_json: bool) -> None:
    """Prints the state."""
    if as_json:
        print(json.dumps(_document(overview), indent=2))
        return
    rows = list(_rows(overview))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:<{width}}  {text}".rstrip())
    for line in _restarts(overview):
        print(line)


def _rows(overview: Overview) -> Iterator[tuple[str, str]]:
    planned, bundle = overview.plan, overview.bundle
    yield "trust bundle", overview.place
    since = "an unknown time" if overview.since is None else shown_time(overview.since)
    yield "generation", f"{planned.generation}, since {since}"
    has_bridge = planned.phase is Phase.RETIRING and planned.bridge_end is not None
    bridge = "; its certificates are the bridge for sidecars with former roots" if has_bridge else ""
    yield "phase", f"{planned.phase}: {_PHASES[planned.phase]}{bridge}"
    yield "issuer", f"{shown(bundle.issuer)}, {_end(bundle.not_after, is_over=overview.is_expired)}"
    for number, anchor in enumerate(bundle.anchors):
        yield "trust anchors" if number == 0 else "", f"{shown(anchor)}, expires {shown_time(anchor.not_after)}"
    if planned.has_root_key:
        yield "root key", "kept: issuers are renewed below the same root"
    if planned.next_step is not None and planned.next_step_at is not None:
        due = shown_time(planned.next_step_at)
        yield "next step", f"{planned.next_step}, due {due}: {STEP_TEXTS[planned.next_step]}"
    else:
        yield "next step", planned.text
    if planned.held is not None:
        yield "held", planned.held
    if planned.stray_keys:
        names = ", ".join(part.value for part in planned.stray_keys)
        advice = "move them elsewhere, or erase them if nothing else needs them"
        yield "left alone", f"{names}: no renewal needs or removes them; {advice}"
    if overview.bridge_end is not None:
        yield "bridge", f"sidecars with only former roots work until {shown_time(overview.bridge_end)}"
    if overview.uptake is not None:
        counts = overview.uptake.counts
        yield "sidecars", ", ".join(f"{counts[each]} {text}" for each, text in _SIDECARS.items())
        if overview.uptake.injector_stale:
            yield "injector", "stale: new pods do not get the newest root"


def _end(moment: datetime, *, is_over: bool) -> str:
    return f"{'expired' if is_over else 'expires'} {shown_time(moment)}"


def _restarts(overview: Overview) -> Iterator[str]:
    """Yields commands that make sidecars get the newest root."""
    uptake = overview.uptake
    if uptake is None:
        return
    if uptake.injector_stale:
        yield ""
        yield "Restart the injector first, then the pods below:"
        yield f"  kubectl rollout restart deployment dapr-sidecar-injector --namespace {overview.namespace}"
    if uptake.pinned:
        yield ""
        yield "These pods have only former roots. Restart them before the bridge ends:"
        yield from (f"  {name}" for name in uptake.pinned[:_MOST_PODS])
        if more := len(uptake.pinned) - _MOST_PODS:
            yield from [f"  and {more} more"] if more > 0 else []
        for namespace in sorted({name.split("/")[0] for name in uptake.pinned}):
            yield f"  kubectl rollout restart deployment,statefulset,daemonset --namespace {namespace}"


def _document(overview: Overview) -> dict[str, object]:
    planned, uptake = overview.plan, overview.uptake
    document: dict[str, object] = msgspec.to_builtins(
        {
            "store": overview.place,
            "generation": planned.generation,
            "since": overview.since,
            "phase": planned.phase,
            "issuer": {
                "subject": shown(overview.bundle.issuer),
                "fingerprint": fingerprint(overview.bundle.issuer),
                "expires": overview.bundle.not_after,
                "expired": overview.is_expired,
            },
            "trust_anchors": [
                {"subject": shown(each), "fingerprint": fingerprint(each), "expires": each.not_after}
                for each in overview.bundle.anchors
            ],
            "has_root_key": planned.has_root_key,
            "next_step": planned.next_step,
            "next_step_at": planned.next_step_at,
            "bridge_end": overview.bridge_end,
            "held": planned.held,
            "stray_keys": [part.value for part in planned.stray_keys],
            "sidecars": None if uptake is None else dict(uptake.counts),
            "pinned": [] if uptake is None else list(uptake.pinned),
            "injector_stale": None if uptake is None else uptake.injector_stale,
            "anchor_sets": [
                {"fingerprints": sorted(roots), "pods": list(pods)} for roots, pods in overview.held.items()
            ],
        }
    )
    return document


def root_passphrase(options: CaOptions) -> bytes | None:
    """Returns the passphrase of root keys, if a flag names its file."""
    path = options.ca_root_key_passphrase_file
    return None if path is None else read_passphrase(path)


def policy_of(options: CaOptions, stored: Parts) -> RenewalPolicy:
    """Returns the parameters of a renewal; a stored issuer decides about trust domain and namespace."""
    trust_domain, namespace = None, None
    with suppress(InvalidBundleError):  # reported by those who verify it
        trust_domain, namespace = identity_of(read_certificates(stored.get(Part.CHAIN, b""))[0])
    root_key_use = options.ca_root_key or ("keep" if named_root(stored.get(Part.ROOT_KEY, b"")) else "discard")
    return RenewalPolicy(
        trust_domain=options.trust_domain or trust_domain or default_trust_domain(options),
        namespace=namespace or options.namespace,
        key_type=options.ca_key_type,
        workload_ttl=options.workload_cert_ttl,
        allowed_clock_skew=options.allowed_clock_skew,
        lifetime=options.ca_ttl,
        grace=options.trust_anchor_propagation_grace,
        scope=options.ca_renewal_scope,
        anchors_kept=options.ca_anchors_kept,
        keeps_root_key=root_key_use == "keep",
        root_lifetime=options.ca_root_ttl,
    )


def default_trust_domain(options: CaOptions) -> str:
    """Returns the trust domain that servers have without a setting: that of the chart, or of the server's flag."""
    return _DOMAIN_OF_CHART if options.in_cluster else DEFAULT_TRUST_DOMAIN
