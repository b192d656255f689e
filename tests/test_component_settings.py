"""Settings of components, as flags and the environment have them."""

import pytest

from sentry_trio.component_settings import environment_settings, own_identity
from sentry_trio.errors import InvalidOptionsError, Part
from sentry_trio.settings.command_line import parse_options


@pytest.mark.parametrize("flag", ["--trust-domain=a..b", "--trust-domain=spiffe://a..b/ns/x"])
def test_a_trust_domain_that_no_uri_may_have_is_rejected(flag: str) -> None:
    with pytest.raises(InvalidOptionsError, match=r"'a\.\.b' and NAMESPACE 'default' do not form a SPIFFE ID"):
        own_identity(parse_options([flag], {}))


def test_only_kubernetes_mode_has_settings_of_a_cluster() -> None:
    assert environment_settings(parse_options([], {})).cluster is None
    flags = ["--mode=kubernetes", "--kubeconfig=k", "--token-keys-refresh=1m"]
    for verification, refresh in (("review", None), ("local", 60)):
        cluster = environment_settings(parse_options([*flags, f"--token-verification={verification}"], {})).cluster
        assert cluster is not None
        assert (str(cluster.kubeconfig), cluster.keys_refresh) == ("k", refresh)


def test_files_are_in_the_directory_unless_absolute() -> None:
    flags = ["--issuer-credentials=/d", "--issuer-key-filename=/k/issuer.key", "--jwks-filename=sub/keys.json"]
    paths = environment_settings(parse_options(flags, {})).paths
    parts = (Part.ANCHORS, Part.CHAIN, Part.KEY, Part.JWT_KEY, Part.JWKS)
    expected = ["/d/ca.crt", "/d/issuer.crt", "/k/issuer.key", "/d/jwt.key", "/d/sub/keys.json"]
    assert [str(paths[part]) for part in parts] == expected


@pytest.mark.parametrize(
    ("flags", "published"),
    [
        ("", True),
        ("--jwt-key-rotation=720h", True),
        ("--oidc-enabled", True),
        ("--jwt-key-rotation=720h --oidc-enabled", False),
        ("--jwt-key-rotation=720h --oidc-enabled --jwks-in-config-map", True),
    ],
)
def test_rotated_keys_that_the_oidc_server_serves_are_not_in_the_config_map(flags: str, published: bool) -> None:
    options = parse_options(["--jwt-enabled", "--oidc-server-tls-enabled=false", *flags.split()], {})
    jwt = environment_settings(options).jwt
    assert jwt is not None
    assert jwt.publishes_jwks is published
