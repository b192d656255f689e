"""Certificates of a report as trees for a terminal, each with a bar of the time that is left; pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from sentry_trio.ca.expiry import WARNING_PERIOD
from sentry_trio.ca.lineage import Link
from sentry_trio.renewal_status import LEFT_OVER
from sentry_trio.status.assess import short
from sentry_trio.status.report import Replica, ReplicaHealth, Report, Stored
from sentry_trio.status.text import duration, plain

_INDENT: Final = 4  # columns of each level of rich's trees
_MAX_BAR: Final = 52  # cells at depth 0, so that all end below one another
_MIN_BAR: Final = 5
_MAX_DEPTH: Final = 20  # certificates below one another


def certificate_trees(report: Report, *, unicode: bool, width: int) -> Iterator[RenderableType]:
    """Yields a tree for each trust bundle: those in use, and the stored one if it differs.

    Args:
        report: the collected state.
        unicode: false for bars in ASCII.
        width: columns of the terminal.
    """
    for title, certificates in _trees(report):
        yield _tree(title, certificates, report, unicode=unicode, width=width)


def _trees(report: Report) -> Iterator[tuple[str, list[tuple[Link, str]]]]:
    """A title and the certificates for each trust bundle: those in use, and the stored one if it differs."""
    several = len(report.reached) > 1
    by_bundle: dict[str | None, list[tuple[Replica, ReplicaHealth]]] = {}
    for replica, health in report.reached:
        if health.certificates:
            by_bundle.setdefault(health.bundle, []).append((replica, health))
    for bundle, users in by_bundle.items():
        whose = f" by {', '.join(plain(replica.name) for replica, _ in users)}" if len(by_bundle) > 1 else ""
        certificates: dict[str, tuple[Link, str]] = {}
        for replica, health in users:
            for link in health.certificates:
                name = plain(replica.name) if several and link.role == "serving" else ""
                certificates.setdefault(link.fingerprint, (link, name))
        yield f"Certificates in use{whose} ({short(bundle)})", list(certificates.values())
    stored = report.stored
    if isinstance(stored, Stored) and stored.certificates and stored.fingerprint not in by_bundle:
        title = f"Certificates in {plain(stored.place)} ({short(stored.fingerprint)})"
        yield title, [(link, "") for link in stored.certificates]


def _tree(
    title: str, certificates: Sequence[tuple[Link, str]], report: Report, *, unicode: bool, width: int
) -> RenderableType:
    root = Tree(Text(title, style="bold"), guide_style="dim")
    known = {link.fingerprint for link, _ in certificates}

    def grow(branch: Tree, depth: int, above: str | None) -> None:
        for link, whose in certificates:
            # A certificate whose signer is unknown is shown at the top.
            parent = link.signed_by if link.signed_by in known and link.signed_by != link.fingerprint else None
            if parent == above and depth <= _MAX_DEPTH:
                room = width - _INDENT * depth
                leaf = branch.add(_certificate(link, whose, report, unicode=unicode, width=room, depth=depth))
                grow(leaf, depth + 1, link.fingerprint)

    grow(root, 1, None)
    return root


def _certificate(link: Link, whose: str, report: Report, *, unicode: bool, width: int, depth: int) -> Text:
    now, part = report.at, part_left(link, report.at)
    left = link.not_after - now
    style = "green"
    if link.role in LEFT_OVER:
        style = "dim"
    elif left < timedelta(0) or now < link.not_before:
        style = "bold red"
    elif link.role != "serving" and left < WARNING_PERIOD:
        style = "yellow"
    text = Text(overflow="fold")
    text.append(f"{plain(link.role)}  ", style="bold")
    text.append(plain(link.subject) or "no name")
    if whose:
        text.append(f"  of {whose}", style="dim")
    left_text, date = validity(link, now), f", {link.not_before if now < link.not_before else link.not_after:%Y-%m-%d}"
    # If the terminal is too narrow the date is left out first, then cells of the bar.
    room = width - len(left_text) - 1
    date = date if room - len(date) >= _MIN_BAR else ""
    cells = max(_MIN_BAR, min(_MAX_BAR - _INDENT * depth, room - len(date)))
    text.append(f"\n{bar(part, cells, unicode=unicode)} {left_text}", style=style)
    text.append(date, style="dim")
    return text


def validity(link: Link, now: datetime) -> str:
    """Time left of a certificate, e.g. `3 d 4 h left`, `expired 2 h ago`."""
    if now > link.not_after:
        return f"expired {duration(now - link.not_after)} ago"
    if now < link.not_before:
        return f"not valid for another {duration(link.not_before - now)}"
    return f"{duration(link.not_after - now)} left"


def part_left(link: Link, now: datetime) -> float:
    """Part of a certificate's lifetime that is left, from 0 to 1; 1 before it has begun."""
    lifetime = link.not_after - link.not_before
    if lifetime <= timedelta(0):
        return 0.0
    return min(1.0, max(0.0, (link.not_after - now) / lifetime))


def bar(part: float, width: int, *, unicode: bool) -> str:
    """A bar of `width` cells; full only if all is left, and empty only if nothing is."""
    full, empty = ("█", "░") if unicode else ("#", "-")
    filled = round(part * width)
    if 0 < part < 1 and width > 1:
        filled = min(max(filled, 1), width - 1)
    return full * filled + empty * (width - filled)
