"""Name constraints of issuers and anchors: constraints that our certificates would violate are an error at load."""

import msgspec
import pytest
from cryptography import x509

from sentry_trio.ca.bundle import verify
from sentry_trio.ca.general_names import AlternativeNames
from sentry_trio.ca.issue import Issuer, WorkloadIdentity
from sentry_trio.ca.keys import public_key_info
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import InvalidBundleError
from testkit.ca.making import DAY, NOW, SKEW, certificate, new_key, stored
from testkit.go_x509 import GoX509

ROOT_KEY, MIDDLE_KEY, KEY, LEAF_KEY = new_key(), new_key(), new_key(), new_key()
IDENTITY = WorkloadIdentity(SpiffeId.make("mesh.example", "dapr-system", "dapr-sentry"), ("a.dapr-system.svc",))
NAMES = AlternativeNames(IDENTITY.dns_names, (str(IDENTITY.spiffe_id),))
FORBIDDEN = "a root or intermediate certificate is not authorized to sign for this name: "


def uris(*domains: str) -> list[x509.GeneralName]:
    return [x509.UniformResourceIdentifier(domain) for domain in domains]


def dns(*domains: str) -> list[x509.GeneralName]:
    return [x509.DNSName(domain) for domain in domains]


def constraints(
    permitted: list[x509.GeneralName] | None = None, excluded: list[x509.GeneralName] | None = None
) -> x509.Extension[x509.ExtensionType]:
    value = x509.NameConstraints(permitted, excluded)
    return x509.Extension(value.oid, True, value)


CONSTRAINTS = {
    "permitted": constraints(uris("mesh.example")),
    "permitted above": constraints(uris(".example")),
    "permitted in other case": constraints(uris("MESH.example")),
    "not permitted": constraints(uris("other.example")),
    "not permitted below": constraints(uris(".mesh.example")),
    "not permitted beside": constraints(uris("esh.example")),
    "one of two permitted": constraints(uris("other.example", "mesh.example")),
    "excluded": constraints(excluded=uris("mesh.example")),
    "excluded above": constraints(excluded=uris(".example")),
    "excluded elsewhere": constraints(excluded=uris("other.example")),
    "permitted and excluded": constraints(uris(".example"), uris("mesh.example")),
    "everything permitted": constraints(uris("")),
    "everything excluded": constraints(excluded=uris("")),
    "DNS name permitted": constraints(dns("svc")),
    "DNS name not permitted": constraints(dns("cluster.local")),
    "DNS name excluded": constraints(excluded=dns("dapr-system.svc")),
    "other kinds": constraints([x509.RFC822Name("example"), *uris("mesh.example")]),
}


@pytest.mark.parametrize("place", ["root", "middle", "issuer"])
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_the_verdict_is_gos_on_a_leaf(go: GoX509, name: str, place: str) -> None:
    more = {each: [CONSTRAINTS[name]] if each == place else [] for each in ("root", "middle", "issuer")}
    root = certificate("root", ROOT_KEY, more=more["root"])
    middle = certificate("middle", MIDDLE_KEY, "root", ROOT_KEY, more=more["middle"])
    issuer = certificate("issuer", KEY, "middle", MIDDLE_KEY, more=more["issuer"])
    bundle = stored([root], [issuer, middle], KEY)
    # The issuer signs without checks; Go then verifies the leaf as a peer would.
    leaf = Issuer(verify(bundle, NOW)).issue(
        public_key_info(LEAF_KEY.public_key()), IDENTITY, lifetime=DAY, allowed_clock_skew=SKEW, now=NOW
    )
    theirs = go.verify(leaf.der, [issuer.der, middle.der], [root.der], NOW)
    if not theirs:
        verify(bundle, NOW, NAMES)
        return
    assert FORBIDDEN in theirs
    with pytest.raises(InvalidBundleError) as refused:
        verify(bundle, NOW, NAMES)
    # Go names the same name for the same reason; here the certificate is named, too.
    assert theirs in str(refused.value)
    assert f'(name constraints of "{place}")' in str(refused.value)


def test_go_forbids_and_permits(go: GoX509) -> None:
    """The table has both, so that the comparison above compares something."""
    verdicts = {}
    for name, each in CONSTRAINTS.items():
        root = certificate("root", ROOT_KEY, more=[each])
        issuer = certificate("issuer", KEY, "root", ROOT_KEY)
        leaf = Issuer(verify(stored([root], [issuer], KEY), NOW)).issue(
            public_key_info(LEAF_KEY.public_key()), IDENTITY, lifetime=DAY, allowed_clock_skew=SKEW, now=NOW
        )
        verdicts[name] = go.verify(leaf.der, [issuer.der], [root.der], NOW)
    assert 0 < sum(map(bool, verdicts.values())) < len(verdicts)


def test_a_path_that_permits_is_enough() -> None:
    narrow = certificate("root", ROOT_KEY, more=[CONSTRAINTS["not permitted"]], not_after=NOW + 20 * DAY)
    wide = certificate("root", ROOT_KEY, not_after=NOW + 10 * DAY)
    bundle = verify(stored([narrow, wide], [certificate("issuer", KEY, "root", ROOT_KEY)], KEY), NOW, NAMES)
    assert bundle.not_after == NOW + 10 * DAY


def test_names_of_intermediates_count() -> None:
    name = x509.SubjectAlternativeName(uris("spiffe://other.example/x"))
    root = certificate("root", ROOT_KEY, more=[CONSTRAINTS["permitted"]])
    issuer = certificate("issuer", KEY, "root", ROOT_KEY, more=[x509.Extension(name.oid, False, name)])
    with pytest.raises(InvalidBundleError, match=r'URI "spiffe://other\.example/x" is not permitted'):
        verify(stored([root], [issuer], KEY), NOW, NAMES)


def test_a_host_that_is_an_address_matches_no_constraint() -> None:
    root = certificate("root", ROOT_KEY, more=[CONSTRAINTS["excluded elsewhere"]])
    names = msgspec.structs.replace(NAMES, uris=("spiffe://192.0.2.1/ns/x/y",))
    with pytest.raises(InvalidBundleError, match="an IP address as its host"):
        verify(stored([root], [certificate("issuer", KEY, "root", ROOT_KEY)], KEY), NOW, names)


def test_without_names_nothing_is_checked() -> None:
    root = certificate("root", ROOT_KEY, more=[CONSTRAINTS["everything excluded"]])
    verify(stored([root], [certificate("issuer", KEY, "root", ROOT_KEY)], KEY), NOW)
