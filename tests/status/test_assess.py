"""Findings that need attention, and those that do not."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from sentry_trio.status.assess import Agreement, Verdict, assess
from sentry_trio.status.report import NotShown, Report
from testkit.ca.making import DAY, HOUR, NOW

from .making import (
    ANCHOR,
    CERTIFICATES,
    ISSUER,
    MINUTE,
    OTHER_BUNDLE,
    RENEWED,
    SERVING,
    figures,
    link,
    published,
    renewal,
    replica,
    report,
    stored,
    unreachable,
)

NO_RIGHT = NotShown("missing permission to get secrets dapr-trust-bundle in dapr-system", asked=False)


def found(given: Report) -> list[tuple[str, str]]:
    return [(finding.cause.value, finding.text) for finding in assess(given).findings]


@pytest.mark.parametrize(
    "given",
    [
        report(),
        report(stored=stored(), published=published()),
        report(stored=NO_RIGHT, published=NO_RIGHT, not_found=NO_RIGHT),
        report(replica("a"), replica("b"), stored=stored()),
        report(replica(counts=NotShown("metrics are disabled in this process", asked=False))),
        report(replica(counts=figures(signing_requests=9, rejected={("invalid_csr", "PermissionDenied"): 9}))),
        report(replica(run=7, last_restart="failed", last_restart_at=NOW)),
        report(replica(renewal=renewal())),
        report(replica(renewal=renewal(bridge_end=NOW + 29 * DAY, sidecars={"current": 1, "former": 0}))),
        report(replica(renewal=renewal(bridge_end=NOW + 29 * DAY, sidecars=None, injector_stale=None))),
        report(replica(certificates=RENEWED), published=published("e" * 64, ANCHOR)),
        # Only replicas know which anchors are former ones.
        report(
            replica(certificates=RENEWED),
            stored=stored(certificates=tuple(replace(each, role="anchor") for each in RENEWED[:2])),
        ),
    ],
)
def test_reports_without_findings(given: Report) -> None:
    assert (assess(given).verdict, found(given)) == (Verdict.WELL, [])


@pytest.mark.parametrize(
    ("given", "cause", "says"),
    [
        (report(replica("a"), unreachable("b:1")), "unreachable", "cannot reach b:1: Connection refused"),
        (report(replica("a"), unreachable("b", "no address yet (phase Pending)")), "unreachable", "b: no address yet"),
        (report(replica(ready=False, targets={"x": False, "y": True})), "not_ready", "not ready: x"),
        (report(replica(ready=False, targets={})), "not_ready", "not ready: no target is known"),
        (report(replica(degraded="no such file")), "degraded", "degraded: no such f"),
        (report(replica(counts=NotShown("no"))), "not_shown", "metrics: no"),
        (
            report(replica(renewal=renewal(held="missing permission to update"))),
            "renewal_held",
            "CA renewal is held: missing permission to",
        ),
        (
            report(replica(renewal=renewal(bridge_end=NOW + 29 * DAY))),
            "sidecars_pinned",
            "sidecars that hold only former trust anchors stop working on 2026-12-21 19:41 UTC: restart them",
        ),
        (
            report(
                replica("a", renewal=renewal(injector_stale=True)), replica("b", renewal=renewal(injector_stale=True))
            ),
            "injector_stale",
            "Dapr's injector gives former trust anchors to new pods: restart it",
        ),
        (report(not_found=NotShown("no")), "not_shown", "replicas: no"),
        (report(stored=NotShown("no")), "not_shown", "trust bundle in the store: no"),
        (report(published=NotShown("no")), "not_shown", "trust anchors for the mesh: no"),
        (report(stored=stored(problem="bad", fingerprint=None)), "store_invalid", "cannot be used: bad"),
        (report(stored=stored(fingerprint=OTHER_BUNDLE)), "store_differs", "1111111111111111 in use, 2222222222222222"),
        (
            report(published=published(ISSUER)),
            "config_map_differs",
            "trust anchors that differ from those in use: cccc",
        ),
        (report(published=published(problem="it has no trust anchors")), "config_map_invalid", "it has no trust anch"),
    ],
)
def test_reports_with_one_finding(given: Report, cause: str, says: str) -> None:
    ((its_cause, text),) = found(given)
    assert its_cause == cause
    assert says in text
    assert assess(given).verdict is Verdict.ATTENTION


def with_certificate(role: str, **changes: Any) -> Report:
    others = [each for each in CERTIFICATES if each.role != role]
    (present,) = [each for each in CERTIFICATES if each.role == role]
    changed = link(role, present.fingerprint, present.signed_by, **changes)
    return report(replica(certificates=(*others, changed)))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (with_certificate("anchor", not_after=NOW + 29 * DAY), "anchor certificate CN=anchor expires on 2026-12-21"),
        (with_certificate("intermediate", not_after=NOW - MINUTE), "intermediate certificate CN=intermediate expired"),
        (with_certificate("issuer", not_before=NOW + HOUR), "issuer certificate CN=issuer is not valid before 2026-"),
        (with_certificate("serving", not_after=NOW - MINUTE), "dapr-sentry expired on 2026-11-22 19:40 UTC"),
        (with_certificate("serving", not_after=NOW + 2 * HOUR), "should have been renewed; it expires on"),
    ],
)
def test_certificates_that_need_attention(given: Report, says: str) -> None:
    ((_, text),) = found(given)
    assert says in text


def test_a_serving_certificate_that_ends_with_its_issuer_is_no_more_to_be_renewed() -> None:
    end = NOW + HOUR
    certificates = (link("issuer", ISSUER, ANCHOR, not_after=end), link("serving", SERVING, ISSUER, not_after=end))
    assert [cause for cause, _ in found(report(replica(certificates=certificates)))] == ["certificate_expiring"]


def test_a_certificate_of_many_replicas_is_reported_once() -> None:
    expired = link("anchor", ANCHOR, not_after=NOW - DAY)
    several = [replica(name, certificates=(expired,)) for name in "ab"]
    given = report(*several, stored=stored(certificates=(expired,)))
    assert [cause for cause, _ in found(given)] == ["certificate_expired"]


def test_equal_findings_of_several_replicas_are_one_line() -> None:
    given = report(replica("a", degraded="bad"), replica("b", degraded="bad"), replica("c", degraded="worse"))
    assert [text for _, text in found(given)] == [
        "a, b: degraded: bad",
        "c: degraded: worse",
    ]


def test_no_replica_reached() -> None:
    assert assess(report(unreachable(), stored=stored())).verdict is Verdict.UNREACHABLE


@pytest.mark.parametrize(
    ("given", "replicas", "store", "config_map"),
    [
        (report(), "unknown", "unknown", "unknown"),
        (report(stored=stored(), published=published()), "unknown", "agree", "agree"),
        (report(replica("a"), replica("b"), stored=stored()), "agree", "agree", "unknown"),
        (report(replica("a"), replica("b", bundle=OTHER_BUNDLE), stored=stored()), "differ", "differ", "unknown"),
        (report(replica("a"), unreachable("b"), stored=stored()), "unknown", "agree", "unknown"),
        (report(unreachable(), stored=stored(), published=published()), "unknown", "unknown", "unknown"),
        (report(published=published(ANCHOR, ISSUER)), "unknown", "unknown", "differ"),
        (report(replica(certificates=()), published=published()), "unknown", "unknown", "unknown"),
        (report(stored=stored(fingerprint=None, problem="bad")), "unknown", "unknown", "unknown"),
    ],
)
def test_agreement_of_replicas_store_and_config_map(given: Report, replicas: str, store: str, config_map: str) -> None:
    judgement = assess(given)
    assert (judgement.replicas, judgement.store, judgement.config_map) == (
        Agreement(replicas),
        Agreement(store),
        Agreement(config_map),
    )


def test_replicas_that_differ_are_named() -> None:
    given = report(replica("a"), replica("b", bundle=OTHER_BUNDLE), replica("c", bundle=None, certificates=()))
    assert found(given) == [
        ("replicas_differ", "replicas use different trust bundles: a 1111111111111111, b 2222222222222222, c none")
    ]


def test_the_clock_is_the_reports() -> None:
    assert assess(report(at=NOW + timedelta(days=700))).verdict is Verdict.ATTENTION
