"""Paths from an issuer to the anchors."""

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from sentry_trio.ca.bundle import verify
from sentry_trio.ca.certificates import Certificate
from sentry_trio.ca.distinguished_names import shown_name
from sentry_trio.ca.paths import MAX_SIGNATURE_CHECKS, find_paths
from sentry_trio.errors import InvalidBundleError
from testkit.ca.making import ANY_USAGE, CLIENT_AUTH, DAY, HOUR, NOW, SERVER_AUTH, certificate, new_key, stored

A_KEY, B_KEY, MIDDLE_KEY, UPPER_KEY, KEY = (new_key() for _ in range(5))
A = certificate("a", A_KEY)
B = certificate("b", B_KEY)
ISSUER = certificate("issuer", KEY, "middle", MIDDLE_KEY)


def middle(above: str, key: object, **differences: object) -> Certificate:
    return certificate("middle", MIDDLE_KEY, above, key, **differences)


def names(paths: list[Certificate]) -> list[str]:
    return [shown_name(each.subject_name) for each in paths]


def test_cross_signed_intermediates_give_a_path_each() -> None:
    under_a, under_b = middle("a", A_KEY), middle("b", B_KEY)
    found = {path.certificates for path in find_paths(ISSUER, (under_b, under_a), (A, B), NOW)}
    assert found == {(ISSUER, under_a, A), (ISSUER, under_b, B)}


def test_intermediates_come_in_any_order() -> None:
    upper = certificate("upper", UPPER_KEY, "a", A_KEY)
    below = middle("upper", UPPER_KEY)
    for order in ((upper, below), (below, upper)):
        (path,) = find_paths(ISSUER, order, (B, A), NOW)
        assert path.certificates == (ISSUER, below, upper, A)


def test_the_window_is_that_of_the_narrowest() -> None:
    above = middle("a", A_KEY, not_before=NOW - 2 * HOUR, not_after=NOW + DAY)
    issuer = certificate("issuer", KEY, "middle", MIDDLE_KEY, not_before=NOW - HOUR / 2)
    (path,) = find_paths(issuer, (above,), (A,), NOW)
    assert (path.not_before, path.not_after) == (NOW - HOUR / 2, NOW + DAY)


@pytest.mark.parametrize("first", ["long", "short"])
def test_the_path_that_lasts_longest_counts(first: str) -> None:
    short = middle("a", A_KEY, not_before=NOW - 9 * DAY, not_after=NOW + DAY)
    long = middle("b", B_KEY, not_before=NOW - HOUR / 4, not_after=NOW + 9 * DAY)
    rest = [long, short] if first == "long" else [short, long]
    bundle = verify(stored([A, B], [ISSUER, *rest[:1]], KEY), NOW)
    expected = (NOW - HOUR / 4, NOW + 9 * DAY) if first == "long" else (NOW - HOUR, NOW + DAY)
    assert (bundle.not_before, bundle.not_after) == expected
    paths = find_paths(ISSUER, tuple(rest), (A, B), NOW)
    assert max(path.not_after for path in paths) == NOW + 9 * DAY


def test_the_bundle_has_the_window_of_the_longest_path() -> None:
    """Two anchors of one name and key, as after a renewal of the root: the chain leads to both."""
    old = certificate("a", A_KEY, not_after=NOW + DAY)
    new = certificate("a", A_KEY, not_before=NOW - HOUR / 2, not_after=NOW + 20 * DAY)
    issuer = certificate("issuer", KEY, "a", A_KEY)
    for anchors in ([old, new], [new, old]):
        bundle = verify(stored(anchors, [issuer], KEY), NOW)
        assert (bundle.not_before, bundle.not_after) == (NOW - HOUR / 2, NOW + 20 * DAY)


def test_the_path_that_began_first_counts_if_several_end_together() -> None:
    late = certificate("a", A_KEY, not_before=NOW - HOUR / 2)
    early = certificate("a", A_KEY, not_before=NOW - 2 * HOUR)
    issuer = certificate("issuer", KEY, "a", A_KEY, not_before=NOW - 2 * HOUR)
    for anchors in ([late, early], [early, late]):
        assert verify(stored(anchors, [issuer], KEY), NOW).not_before == NOW - 2 * HOUR


def test_an_expired_path_does_not_spoil_a_good_one() -> None:
    expired = middle("a", A_KEY, not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    good = middle("b", B_KEY)
    (path,) = find_paths(ISSUER, (expired, good), (A, B), NOW)
    assert path.certificates == (ISSUER, good, B)


@pytest.mark.parametrize(
    ("root_length", "middle_length", "fits"),
    [
        (None, None, True),
        (2, 1, True),
        (2, None, True),
        (1, None, False),
        (None, 1, True),
        (None, 0, False),
        (9, 0, False),
    ],
)
def test_path_lengths_leave_room_for_certificates_of_the_issuer(
    root_length: int | None, middle_length: int | None, *, fits: bool
) -> None:
    root = certificate("a", A_KEY, path_length=root_length)
    above = middle("a", A_KEY, path_length=middle_length)
    issuer = certificate("issuer", KEY, "middle", MIDDLE_KEY, path_length=0)
    if fits:
        assert len(find_paths(issuer, (above,), (root,), NOW)) == 1
        return
    with pytest.raises(InvalidBundleError, match=r"^x509: too many intermediates for path length constraint$"):
        find_paths(issuer, (above,), (root,), NOW)


@pytest.mark.parametrize(
    ("root", "intermediate", "issuer", "fits"),
    [
        (None, None, None, True),
        ([SERVER_AUTH], [SERVER_AUTH], [SERVER_AUTH], True),
        ([ANY_USAGE], [CLIENT_AUTH, SERVER_AUTH], None, True),
        ([CLIENT_AUTH], None, None, False),
        (None, [CLIENT_AUTH], None, False),
        (None, None, [CLIENT_AUTH], False),
    ],
)
def test_extended_usages_nest(
    root: list[x509.ObjectIdentifier] | None,
    intermediate: list[x509.ObjectIdentifier] | None,
    issuer: list[x509.ObjectIdentifier] | None,
    *,
    fits: bool,
) -> None:
    anchor = certificate("a", A_KEY, extended=root)
    above = middle("a", A_KEY, extended=intermediate)
    below = certificate("issuer", KEY, "middle", MIDDLE_KEY, extended=issuer)
    if fits:
        assert len(find_paths(below, (above,), (anchor,), NOW)) == 1
        return
    with pytest.raises(InvalidBundleError, match=r"^x509: certificate specifies an incompatible key usage$"):
        find_paths(below, (above,), (anchor,), NOW)


def test_a_path_with_the_wrong_usage_does_not_spoil_a_good_one() -> None:
    bad, good = middle("a", A_KEY, extended=[CLIENT_AUTH]), middle("b", B_KEY)
    (path,) = find_paths(ISSUER, (bad, good), (A, B), NOW)
    assert path.certificates == (ISSUER, good, B)


def test_the_first_reason_is_named_with_a_hint() -> None:
    impostor = certificate("middle", new_key(), "a", A_KEY)
    with pytest.raises(InvalidBundleError) as refused:
        find_paths(ISSUER, (impostor,), (A,), NOW)
    assert str(refused.value) == (
        "x509: certificate signed by unknown authority (possibly because of \"the signature does not fit the signer's "
        'key" while trying to verify candidate authority certificate "middle")'
    )


def test_names_are_compared_as_they_are_encoded() -> None:
    """The same text as UTF8String and PrintableString is equal to RFC 5280, but not to Go, who verifies our leaves."""
    printable = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a", _ASN1Type.PrintableString)])
    anchor = certificate(printable, A_KEY)
    assert anchor.subject_name == A.subject_name
    assert anchor.subject != A.subject
    issuer = certificate("issuer", KEY, "a", A_KEY)
    assert len(find_paths(issuer, (), (A,), NOW)) == 1
    with pytest.raises(InvalidBundleError, match=r"^x509: certificate signed by unknown authority$"):
        find_paths(issuer, (), (anchor,), NOW)


def test_circles_end() -> None:
    """Two intermediates that have signed each other, and no way out."""
    one = certificate("middle", MIDDLE_KEY, "upper", UPPER_KEY)
    two = certificate("upper", UPPER_KEY, "middle", MIDDLE_KEY)
    with pytest.raises(InvalidBundleError, match=r"^x509: certificate signed by unknown authority$"):
        find_paths(ISSUER, (one, two), (A,), NOW)


def hostile(size: int) -> tuple[Certificate, ...]:
    """Intermediates of one name, each with its own key and each signed by all: factorially many paths."""
    keys = [MIDDLE_KEY, *(new_key() for _ in range(size))]
    return tuple(certificate("middle", key, "middle", signer) for key in keys for signer in keys if key is not signer)


def test_the_search_of_a_hostile_chain_ends_soon() -> None:
    intermediates = hostile(8)
    with pytest.raises(InvalidBundleError, match="signature check attempts limit reached"):
        find_paths(ISSUER, intermediates, (A,), NOW)
    assert len(intermediates) < MAX_SIGNATURE_CHECKS


def test_paths_found_before_the_limit_count() -> None:
    intermediates = (middle("a", A_KEY), *hostile(8))
    paths = find_paths(ISSUER, intermediates, (A,), NOW)
    assert (ISSUER, intermediates[0], A) in {path.certificates for path in paths}
