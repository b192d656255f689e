"""Lineage of certificates."""

from sentry_trio.ca.certificates import fingerprint
from sentry_trio.ca.lineage import lineage, roles_of, root_ends, serving_link
from testkit.ca.making import DAY, HOUR, NOW, certificate, generated, new_key

ROOT_KEY, MIDDLE_KEY, KEY, OTHER_KEY = new_key(), new_key(), new_key(), new_key()
ROOT = certificate("root", ROOT_KEY)
MIDDLE = certificate("middle", MIDDLE_KEY, "root", ROOT_KEY)
ISSUER = certificate("issuer", KEY, "middle", MIDDLE_KEY)


def test_from_the_anchors_down_to_the_issuer() -> None:
    links = lineage([ROOT], [ISSUER, MIDDLE])
    assert [(link.role, link.subject) for link in links] == [
        ("anchor", "CN=root"),
        ("intermediate", "CN=middle"),
        ("issuer", "CN=issuer"),
    ]
    assert [link.signed_by for link in links] == [None, fingerprint(ROOT), fingerprint(MIDDLE)]
    assert (links[0].not_before, links[0].not_after) == (NOW - HOUR, NOW + 30 * DAY)


def test_names_alone_are_not_accepted() -> None:
    impostor = certificate("middle", OTHER_KEY)
    assert lineage([impostor], [ISSUER])[-1].signed_by is None
    assert lineage([impostor, MIDDLE], [ISSUER])[-1].signed_by == fingerprint(MIDDLE)


def test_the_anchor_that_lasts_longest_counts() -> None:
    renewed = certificate("root", ROOT_KEY, not_after=NOW + 90 * DAY)
    links = lineage([ROOT, renewed], [MIDDLE])
    assert [link.role for link in links] == ["anchor", "anchor", "issuer"]
    assert links[-1].signed_by == fingerprint(renewed)


# After a renewal: the root that the first issuer has cross-signed, and an issuer below it.
NEXT_KEY, NEXT_ISSUER_KEY, FIRST_KEY = new_key(), new_key(), new_key()
FIRST = certificate("first", FIRST_KEY, "root", ROOT_KEY)
NEXT_ROOT = certificate("next root", NEXT_KEY, not_before=NOW)
CROSS = certificate("next root", NEXT_KEY, "first", FIRST_KEY)
NEXT = certificate("next issuer", NEXT_ISSUER_KEY, "next root", NEXT_KEY)
OWN = [fingerprint(ROOT), fingerprint(NEXT_ROOT)]


def test_a_renewal_leaves_a_bridge_and_a_former_root() -> None:
    links = lineage([NEXT_ROOT, ROOT], [NEXT, CROSS, FIRST], OWN)
    assert [(link.role, link.subject, link.signed_by) for link in links] == [
        ("anchor", "CN=next root", None),
        ("former", "CN=root", None),
        ("bridge", "CN=first", fingerprint(ROOT)),
        ("bridge", "CN=next root", fingerprint(FIRST)),
        ("issuer", "CN=next issuer", fingerprint(NEXT_ROOT)),
    ]


def test_a_root_that_is_merely_published_is_an_anchor() -> None:
    assert roles_of([NEXT_ROOT, ROOT], [FIRST], OWN) == (("anchor", "anchor"), ("issuer",))


def test_a_former_root_stays_one_without_the_bridge() -> None:
    assert roles_of([NEXT_ROOT, ROOT], [NEXT], OWN) == (("anchor", "former"), ("issuer",))


def test_a_foreign_anchor_is_never_a_former_one() -> None:
    assert roles_of([NEXT_ROOT, ROOT], [NEXT], OWN[1:]) == (("anchor", "anchor"), ("issuer",))


def test_a_chain_without_an_anchor_leaves_nothing_over() -> None:
    assert roles_of([ROOT], [NEXT], OWN) == (("anchor",), ("issuer",))


def test_each_root_has_an_end() -> None:
    short = certificate("first", FIRST_KEY, "root", ROOT_KEY, not_after=NOW + DAY)
    ends = root_ends([NEXT_ROOT, ROOT], [NEXT, CROSS, short], [*OWN, "of a root that is not published"], NOW)
    assert ends == {
        fingerprint(ROOT): NOW + DAY,
        fingerprint(NEXT_ROOT): NOW + 30 * DAY,
        "of a root that is not published": NOW,
    }
    assert root_ends([NEXT_ROOT, ROOT], [NEXT, CROSS, short], OWN, NOW + 2 * DAY)[fingerprint(ROOT)] == NOW + 2 * DAY
    assert root_ends([NEXT_ROOT, ROOT], [short], OWN, NOW) == {
        fingerprint(ROOT): NOW + DAY,
        fingerprint(NEXT_ROOT): NOW,
    }


def test_a_search_ends() -> None:
    """A signer is searched a hundred times at most, for any bundle."""
    impostors = [certificate("middle", OTHER_KEY) for _ in range(100)]
    longer = certificate("middle", MIDDLE_KEY, "root", ROOT_KEY, not_after=NOW + DAY)
    assert lineage(impostors[:99], [ISSUER])[-1].signed_by is None
    assert lineage([*impostors, longer], [ISSUER])[-1].signed_by is None
    assert lineage([*impostors[:99], longer], [ISSUER])[-1].signed_by == fingerprint(longer)


def test_the_authoritys_own_certificate() -> None:
    bundle = generated()
    link = serving_link(bundle.issuer, bundle.anchors[0])
    assert (link.role, link.signed_by) == ("serving", fingerprint(bundle.anchors[0]))
