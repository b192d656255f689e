"""Lineage of certificates."""

from sentry_trio.ca.certificates import fingerprint
from sentry_trio.ca.lineage import lineage, serving_link
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


def test_names_alone_are_not_believed() -> None:
    impostor = certificate("middle", OTHER_KEY)
    assert lineage([impostor], [ISSUER])[-1].signed_by is None
    assert lineage([impostor, MIDDLE], [ISSUER])[-1].signed_by == fingerprint(MIDDLE)


def test_of_several_anchors_the_one_that_lasts() -> None:
    renewed = certificate("root", ROOT_KEY, not_after=NOW + 90 * DAY)
    links = lineage([ROOT, renewed], [MIDDLE])
    assert [link.role for link in links] == ["anchor", "anchor", "issuer"]
    assert links[-1].signed_by == fingerprint(renewed)


def test_a_search_ends() -> None:
    """What nobody signed is looked for a hundred times at most, whatever is in the bundle."""
    impostors = [certificate("middle", OTHER_KEY) for _ in range(100)]
    longer = certificate("middle", MIDDLE_KEY, "root", ROOT_KEY, not_after=NOW + DAY)
    assert lineage(impostors[:99], [ISSUER])[-1].signed_by is None
    assert lineage([*impostors, longer], [ISSUER])[-1].signed_by is None
    assert lineage([*impostors[:99], longer], [ISSUER])[-1].signed_by == fingerprint(longer)


def test_the_authoritys_own_certificate() -> None:
    bundle = generated()
    link = serving_link(bundle.issuer, bundle.anchors[0])
    assert (link.role, link.signed_by) == ("serving", fingerprint(bundle.anchors[0]))
