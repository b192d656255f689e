"""Preflight: findings about a trust bundle before it takes the place of the one in use. Pure.

A valid bundle may still cut clients off: the new trust anchors may not verify certificates that are in use, or the new
issuer may have no path to trust anchors that clients hold.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final

from sentry_trio.ca.bundle import StoredBundle, TrustBundle, verify
from sentry_trio.ca.certificates import Certificate, fingerprint, shown
from sentry_trio.ca.paths import path_end
from sentry_trio.ca.strictness import Finding, Severity, warnings_about
from sentry_trio.ca.trust import AnchorSet, IssuerInUse, Trust
from sentry_trio.errors import Fault, InvalidBundleError

_NAMED: Final = 10
_REMEDY: Final = "cross-sign the new root, or publish it beside the old ones before its issuer signs"


def preflight(candidate: StoredBundle, trust: Trust, now: dt.datetime, *, strict: bool = False) -> tuple[Finding, ...]:
    """Returns findings about a trust bundle, errors first.

    Args:
        candidate: the trust bundle.
        trust: trust in use.
        now: an aware datetime.
        strict: true to make the loss of a foreign trust anchor an error.
    """
    try:
        bundle = verify(candidate, now, trust.names)
    except InvalidBundleError as error:
        return (Finding(error.fault or Fault.UNREADABLE, Severity.ERROR, str(error)),)
    findings = [
        *_cut_leaves(bundle, trust, now),
        *_cut_consumers(bundle, trust, now),
        *_regression(bundle, trust, now),
        *_lost_anchors(bundle, trust, now, strict=strict),
        *warnings_about(candidate, bundle, trust, now),
    ]
    return tuple(sorted(findings, key=lambda each: each.severity is not Severity.ERROR))


class _Reach:
    """Times until which certificates of an issuer verify, cached by trust anchor.

    Args:
        chain: the issuer's chain.
        now: an aware datetime.
    """

    def __init__(self, chain: Sequence[Certificate], now: dt.datetime) -> None:
        self._chain = chain
        self._now = now
        self._known: dict[Certificate, dt.datetime | None] = {}

    def until(self, anchors: Sequence[Certificate]) -> dt.datetime | None:
        """Returns the end of the path to one of the anchors that lasts longest, or None if none is valid now."""
        return max(filter(None, map(self._until, anchors)), default=None)

    def _until(self, anchor: Certificate) -> dt.datetime | None:
        if anchor not in self._known:
            self._known[anchor] = path_end(self._chain, (anchor,), self._now)
        return self._known[anchor]


def _cut_leaves(bundle: TrustBundle, trust: Trust, now: dt.datetime) -> Iterator[Finding]:
    for issuer in trust.issuers:
        reach = _Reach(issuer.chain, now)
        if (served := reach.until(issuer.anchors)) is None:
            continue
        end, needed = reach.until(bundle.anchors), min(issuer.until, served)
        if end is None or end < needed:
            yield _cut_leaves_finding(issuer, end, needed)


def _cut_leaves_finding(issuer: IssuerInUse, end: dt.datetime | None, needed: dt.datetime) -> Finding:
    root = "its root is not among the new trust anchors"
    fault = root if end is None else f"the new trust anchors verify them until {_shown(end)} only"
    return Finding(
        "cut-leaves",
        Severity.ERROR,
        f'certificates of issuer "{shown(issuer.chain[0])}" are valid until {_shown(needed)}, but {fault}: '
        f"every client would reject them; keep the root until then, and {_REMEDY}",
        about=fingerprint(issuer.chain[0]),
    )


def _cut_consumers(bundle: TrustBundle, trust: Trust, now: dt.datetime) -> Iterator[Finding]:
    before, after = _Reach(trust.chain, now), _Reach(bundle.chain, now)
    for held in trust.anchor_sets:
        # Clients that the issuer in use does not serve either are not cut off by the new one.
        if (served := before.until(held.anchors)) is None:
            continue
        end = after.until(held.anchors)
        if end is None or end < min(served, now + trust.leaf_lifetime, bundle.not_after):
            yield _cut_consumers_finding(held, end)
        elif end < min(served, bundle.not_after):
            yield Finding(
                "short-bridge",
                Severity.WARNING,
                f"{_holders(held)} would reject the new issuer's certificates from {_shown(end)} on, but those of the "
                f"issuer in use only from {_shown(served)} on: restart these clients before",
                about=_anchors(held),
            )


def _holders(held: AnchorSet) -> str:
    names = ", ".join(held.holders[:_NAMED])
    more = f" and {len(held.holders) - _NAMED} more" if len(held.holders) > _NAMED else ""
    return names + more


def _anchors(held: AnchorSet) -> str:
    return " ".join(sorted(map(fingerprint, held.anchors)))


def _cut_consumers_finding(held: AnchorSet, end: dt.datetime | None) -> Finding:
    roots = ", ".join(f'"{shown(each)}"' for each in held.anchors[:_NAMED])
    when = "" if end is None else f" from {_shown(end)} on"
    return Finding(
        "cut-consumers",
        Severity.ERROR,
        f"{_holders(held)} would reject the new issuer's certificates{when}: their only trust anchors are {roots}, and "
        f"the issuer chain has no path to these; {_REMEDY}, or restart these clients in between",
        about=_anchors(held),
    )


def _regression(bundle: TrustBundle, trust: Trust, now: dt.datetime) -> Iterator[Finding]:
    number = trust.former.get(fingerprint(bundle.issuer))
    has_expired = _Reach(trust.chain, now).until(trust.anchors) is None
    if number is not None and bundle.issuer != trust.chain[0] and not has_expired:
        yield Finding(
            "regression",
            Severity.ERROR,
            f'issuer "{shown(bundle.issuer)}" is that of generation {number}, which has been replaced: a Helm upgrade '
            "or a restored file may have put it back; put the current trust bundle back, and remove the former one "
            "from the Helm values",
        )


def _lost_anchors(bundle: TrustBundle, trust: Trust, now: dt.datetime, *, strict: bool) -> Iterator[Finding]:
    in_use = _Reach(trust.chain, now)
    for each in trust.anchors:
        is_foreign = fingerprint(each) not in trust.own_roots and in_use.until([each]) is None
        if is_foreign and each not in bundle.anchors and now <= each.not_after:
            yield Finding(
                "anchor-lost",
                Severity.ERROR if strict else Severity.WARNING,
                f'trust anchor "{shown(each)}" (SHA-256 {fingerprint(each)}) of another authority is missing from the '
                "new ones: clients with certificates of that authority are rejected",
            )


def _shown(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
