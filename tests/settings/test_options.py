"""The command line as a whole: every flag and its field, the order of the rules, what is still to come."""

import contextlib
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.ca.jwt_key import generate_jwt_key, verify_jwt_key
from sentry_trio.errors import InvalidOptionsError
from sentry_trio.settings.command_line import parse_options
from sentry_trio.settings.flags import Flag, HelpRequested, Kind, UsageError
from sentry_trio.settings.options import FLAGS, JWT_ALGORITHMS, Mode, Options, TokenVerification

DIRECTORY = "/var/run/secrets/dapr.io/credentials"

# name, type, default, an example, the field's value by default, the field's value for the example
TABLE: list[tuple[str, Kind, object, str, object, object]] = [
    ("config", Kind.STRING, "daprsystem", "c.yaml", "daprsystem", "c.yaml"),
    ("issuer-credentials", Kind.STRING, DIRECTORY, "/creds", Path(DIRECTORY), Path("/creds")),
    ("issuer-ca-filename", Kind.STRING, "ca.crt", "root.pem", "ca.crt", "root.pem"),
    ("issuer-certificate-filename", Kind.STRING, "issuer.crt", "chain.pem", "issuer.crt", "chain.pem"),
    ("issuer-key-filename", Kind.STRING, "issuer.key", "key.pem", "issuer.key", "key.pem"),
    ("trust-domain", Kind.STRING, "localhost", "example.com", "localhost", "example.com"),
    ("port", Kind.INT, 50001, "0", 50001, 0),
    ("listen-address", Kind.STRING, "", "[::1]", "", "::1"),
    ("healthz-port", Kind.INT, 8080, "0x10", 8080, 16),
    ("healthz-listen-address", Kind.STRING, "", "127.0.0.1", "", "127.0.0.1"),
    ("mode", Kind.STRING, "auto", "kubernetes", Mode.STANDALONE, Mode.KUBERNETES),
    ("jwt-enabled", Kind.BOOL, False, "true", False, True),
    ("jwt-key-filename", Kind.STRING, "jwt.key", "my.key", "jwt.key", "my.key"),
    ("jwks-filename", Kind.STRING, "jwks.json", "my.json", "jwks.json", "my.json"),
    ("jwt-issuer", Kind.STRING, None, "", None, ""),
    ("jwt-signing-algorithm", Kind.STRING, "RS256", "ES256", "RS256", "ES256"),
    ("jwt-key-id", Kind.STRING, None, "k", None, "k"),
    ("jwt-key-rotation", Kind.DURATION, timedelta(), "720h", timedelta(), timedelta(days=30)),
    ("jwks-in-config-map", Kind.BOOL, False, "true", False, True),
    ("jwt-ttl", Kind.DURATION, timedelta(hours=24), "-1s", timedelta(hours=24), timedelta(seconds=-1)),
    ("oidc-enabled", Kind.BOOL, False, "t", False, True),
    ("oidc-server-listen-port", Kind.INT, 9080, "443", 9080, 443),
    ("oidc-server-listen-address", Kind.STRING, "localhost", "0.0.0.0", "localhost", "0.0.0.0"),
    ("oidc-server-tls-enabled", Kind.BOOL, True, "false", True, False),
    ("oidc-server-tls-cert-file", Kind.STRING, None, "/tls/c", None, Path("/tls/c")),
    ("oidc-server-tls-key-file", Kind.STRING, None, "/tls/k", None, Path("/tls/k")),
    ("oidc-jwks-uri", Kind.STRING, None, "https://x/keys", None, "https://x/keys"),
    ("oidc-path-prefix", Kind.STRING, None, "/oidc", None, "/oidc"),
    ("oidc-allowed-hosts", Kind.STRINGS, (), "a,b", (), ("a", "b")),
    ("kubeconfig", Kind.STRING, "~/.kube/config", "/kube", "/home/me/.kube/config", "/kube"),
    ("log-level", Kind.STRING, "info", "WARN", "info", "warn"),
    ("log-file", Kind.STRING, "", "/log", None, Path("/log")),
    ("log-as-json", Kind.BOOL, False, "1", False, True),
    ("enable-metrics", Kind.BOOL, True, "F", True, False),
    ("metrics-port", Kind.STRING, "9090", "65535", 9090, 65535),
    ("metrics-listen-address", Kind.STRING, "0.0.0.0", "localhost", "0.0.0.0", "localhost"),
    ("oidc-trusted-proxies", Kind.STRINGS, (), "10.0.0.0/8,::1", (), (ip_network("10.0.0.0/8"), ip_network("::1"))),
    ("ca-key-type", Kind.STRING, "p256", "ed25519", "p256", "ed25519"),
    ("drain-timeout", Kind.DURATION, timedelta(seconds=10), "0", timedelta(seconds=10), timedelta()),
    ("token-verification", Kind.STRING, "review", "local", TokenVerification.REVIEW, TokenVerification.LOCAL),
    ("image-extension", Kind.BOOL, False, "true", False, True),
    ("max-connections", Kind.INT, 2000, "9", 2000, 9),
    ("max-connections-per-peer", Kind.INT, 500, "9", 500, 9),
    ("max-calls", Kind.INT, 500, "9", 500, 9),
    ("connection-idle-timeout", Kind.DURATION, timedelta(minutes=5), "9s", timedelta(minutes=5), timedelta(seconds=9)),
    ("token-keys-refresh", Kind.DURATION, timedelta(minutes=5), "9s", timedelta(minutes=5), timedelta(seconds=9)),
    ("connection-age", Kind.DURATION, timedelta(minutes=30), "9s", timedelta(minutes=30), timedelta(seconds=9)),
    ("audit-log", Kind.STRING, "", "/audit.log", None, "/audit.log"),
    ("audit-required", Kind.BOOL, False, "true", False, True),
    ("ca-ttl", Kind.DURATION, timedelta(days=365), "1h", timedelta(days=365), timedelta(hours=1)),
    ("ca-renewal-enabled", Kind.BOOL, True, "false", True, False),
    ("ca-renewal-threshold", Kind.FLOAT, 0.5, ".7", 0.5, 0.7),
    ("trust-anchor-propagation-grace", Kind.DURATION, timedelta(days=1), "0", timedelta(days=1), timedelta()),
    ("ca-renewal-scope", Kind.STRING, "own", "any", "own", "any"),
    ("ca-anchors-kept", Kind.INT, 2, "0", 2, 0),
    ("ca-root-key", Kind.STRING, "discard", "keep", "discard", "keep"),
    ("ca-root-ttl", Kind.DURATION, timedelta(days=3650), "8760h", timedelta(days=3650), timedelta(days=365)),
    ("ca-root-key-passphrase-file", Kind.STRING, "", "p", None, Path("p")),
    ("allow-trust-cut", Kind.STRING, "", "0A" * 32, "", "0a" * 32),
]
# What an example needs beside it to be valid.
COMPANIONS = {
    "jwt-issuer": ["--jwt-enabled"],
    "oidc-enabled": ["--oidc-server-tls-enabled=false"],
    "oidc-server-tls-cert-file": ["--oidc-server-tls-key-file=/tls/k"],
    "oidc-server-tls-key-file": ["--oidc-server-tls-cert-file=/tls/c"],
    "audit-required": ["--audit-log=stdout"],
}


def parse(*arguments: str, **environ: str) -> Options:
    return parse_options(arguments, environ)


@pytest.mark.parametrize(("name", "kind", "default", "example", "by_default", "by_example"), TABLE, ids=str)
def test_every_flag(
    name: str, kind: Kind, default: object, example: str, by_default: object, by_example: object
) -> None:
    flag = next(flag for flag in FLAGS if flag.name == name)
    assert (flag.kind, flag.default) == (kind, default)
    field = name.replace("-", "_")
    assert getattr(parse(HOME="/home/me"), field) == by_default
    assert getattr(parse(f"--{name}={example}", *COMPANIONS.get(name, ())), field) == by_example


def test_the_table_has_every_flag_and_every_field() -> None:
    names = [row[0] for row in TABLE]
    assert sorted(flag.name for flag in FLAGS) == sorted(names)
    fields = {field.name for field in msgspec.structs.fields(Options)} - {"config_given", "namespace", "warnings"}
    assert fields == {name.replace("-", "_") for name in names}


def test_config_given() -> None:
    assert not parse().config_given
    assert parse("--config", "daprsystem").config_given


def test_without_home_there_is_no_kubeconfig() -> None:
    assert parse().kubeconfig == parse(HOME="").kubeconfig == ""
    assert parse(HOME="/home//me/").kubeconfig == "/home/me/.kube/config"


CERT_NEEDED = (
    "oidc-server-tls-cert-file is required when OIDC HTTP server is enabled (unless oidc-server-tls-enabled is false)"
)
KEY_NEEDED = CERT_NEEDED.replace("cert-file", "key-file")
CERT, KEY = "--oidc-server-tls-cert-file=c", "--oidc-server-tls-key-file=k"


MODES = ": expected one of auto, standalone, kubernetes"
LEVELS = ": expected one of debug, info, warn, error, fatal"


# Each row breaks the rules of all rows below it, too, as far as they can be broken together.
def test_the_grace_may_be_automatic() -> None:
    assert parse("--trust-anchor-propagation-grace=auto").trust_anchor_propagation_grace == "auto"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--mode=x", "--oidc-enabled", "--jwt-issuer=i", "--log-level=x"], f"invalid mode: x{MODES}"),
        (["--mode=", "--oidc-enabled"], f"invalid mode: {MODES}"),
        (["--mode=Standalone"], f"invalid mode: Standalone{MODES}"),
        (["--oidc-enabled", "--jwt-issuer=i", "--log-level=x"], CERT_NEEDED),
        (["--oidc-enabled", KEY, "--jwt-issuer=i"], CERT_NEEDED),
        (["--oidc-enabled", CERT, "--jwt-issuer=i", "--log-level=x"], KEY_NEEDED),
        (["--jwt-issuer=", "--log-level=x", CERT], "jwt-issuer cannot be set when jwt-enabled is false"),
        (["--log-level=Warning", CERT, "--port=-1"], f"invalid value for --log-level: Warning{LEVELS}"),
        ([CERT, "--port=-1"], "both OIDC TLS certificate and key must be provided if one is specified"),
        ([KEY, "--port=-1"], "both OIDC TLS certificate and key must be provided if one is specified"),
        (["--port=-1", "--jwt-enabled"], "invalid --port -1: expected a port from 0 to 65535"),
        (["--healthz-port=65536"], "invalid --healthz-port 65536: expected a port from 0 to 65535"),
        (
            ["--oidc-server-listen-port=99999"],
            "invalid --oidc-server-listen-port 99999: expected a port from 0 to 65535",
        ),
        (["--metrics-port=70000"], "invalid --metrics-port 70000: expected a port from 0 to 65535"),
        (["--metrics-port=x"], 'failed to parse metrics port: expected a decimal number, got "x"'),
        (["--ca-key-type=rsa"], 'invalid --ca-key-type "rsa": expected one of p256, p384, ed25519, rsa2048'),
        (["--drain-timeout=-1s"], "--drain-timeout must not be negative, got -1s"),
        (
            ["--token-verification=never"],
            'invalid --token-verification "never": expected one of review, local',
        ),
        (
            ["--oidc-trusted-proxies=::1,10.0.0.1/8"],
            'invalid --oidc-trusted-proxies "10.0.0.1/8": 10.0.0.1/8 has host bits set; expected networks such as 10.0.0.0/8 or fd00::/8',  # noqa: E501
        ),
        (["--ca-ttl=0"], "--ca-ttl must be positive, got 0s"),
        (["--ca-renewal-threshold=1"], "--ca-renewal-threshold must be between 0 and 1, got 1"),
        (["--ca-renewal-scope=all"], 'invalid --ca-renewal-scope "all": expected one of own, any'),
        (["--ca-root-key=lose"], 'invalid --ca-root-key "lose": expected one of discard, keep'),
        (["--ca-root-ttl=0"], "--ca-root-ttl must be positive, got 0s"),
        (
            ["--ca-root-key=keep", "--ca-root-ttl=1h"],
            "--ca-root-ttl must be at least --ca-ttl: no issuer outlives its root",
        ),
        (
            ["--ca-root-key=keep", "--mode=kubernetes"],
            (
                "--ca-root-key=keep needs --ca-root-key-passphrase-file in kubernetes mode: other programs may read "
                "the Secret that the key is stored in"
            ),
        ),
        (["--ca-anchors-kept=9"], "--ca-anchors-kept must be from 0 to 8, got 9"),
        (["--ca-anchors-kept=-1"], "--ca-anchors-kept must be from 0 to 8, got -1"),
        (
            ["--allow-trust-cut=0a"],
            'invalid --allow-trust-cut "0a": expected the 64 hexadecimal digits of a trust bundle\'s fingerprint',
        ),
        (
            ["--trust-anchor-propagation-grace=x"],
            'invalid --trust-anchor-propagation-grace: expected a duration such as 1h30m, got "x"; also accepted: auto',
        ),
        (["--trust-anchor-propagation-grace=-1s"], "--trust-anchor-propagation-grace must not be negative, got -1s"),
        (
            ["--jwt-enabled", "--jwt-signing-algorithm=HS256"],
            'invalid --jwt-signing-algorithm "HS256": expected one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA',  # noqa: E501
        ),
        (["--max-connections=0"], "--max-connections must be positive, got 0"),
        (["--max-connections-per-peer=-1"], "--max-connections-per-peer must be positive, got -1"),
        (["--max-calls=0"], "--max-calls must be positive, got 0"),
        (["--connection-idle-timeout=0"], "--connection-idle-timeout must be positive, got 0s"),
        (["--audit-required"], "--audit-required needs --audit-log: a path, or stdout"),
        (["--token-keys-refresh=0s"], "--token-keys-refresh must be positive, got 0s"),
        (["--connection-age=-1m"], "--connection-age must be positive, got -1m0s"),
    ],
)
def test_rules_and_their_order(arguments: list[str], error: str) -> None:
    with pytest.raises(InvalidOptionsError) as caught:
        parse(*arguments)
    assert str(caught.value) == error


@pytest.mark.parametrize(
    "flag", ["listen-address", "healthz-listen-address", "oidc-server-listen-address", "metrics-listen-address"]
)
def test_every_listen_address_is_checked(flag: str) -> None:
    with pytest.raises(InvalidOptionsError, match=f'^invalid --{flag} "a:1": '):
        parse(f"--{flag}=a:1")


def test_the_metrics_port_is_not_looked_at_without_metrics() -> None:
    assert parse("--metrics-port=x", "--enable-metrics=false").metrics_port == 0


def test_namespace() -> None:
    assert parse().namespace == "default"
    assert parse(NAMESPACE="dapr-system").namespace == "dapr-system"
    with pytest.raises(InvalidOptionsError, match=r"^the environment variable NAMESPACE is empty: "):
        parse(NAMESPACE="")


@pytest.mark.parametrize(
    ("arguments", "cluster", "mode"),
    [
        ([], {}, Mode.STANDALONE),
        (["--mode=auto"], {"KUBERNETES_SERVICE_HOST": ""}, Mode.STANDALONE),
        (["--mode=auto"], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, Mode.KUBERNETES),
        ([], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, Mode.KUBERNETES),
        (["--mode=standalone"], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, Mode.STANDALONE),
        (["--mode=kubernetes"], {}, Mode.KUBERNETES),
    ],
)
def test_mode(arguments: list[str], cluster: dict[str, str], mode: Mode) -> None:
    assert parse(*arguments, **cluster).mode is mode


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--jwt-enabled", "--jwt-ttl=0s"], "--jwt-ttl must be positive, got 0s"),
        (
            ["--jwt-key-rotation=-1h"],
            "--jwt-key-rotation must be 0 or at least 1h12m0s if --jwt-ttl is 24h0m0s, got -1h",
        ),
        (
            ["--jwt-key-rotation=1h"],
            "--jwt-key-rotation must be 0 or at least 1h12m0s if --jwt-ttl is 24h0m0s, got 1h",
        ),
        (
            ["--jwt-ttl=1m", "--jwt-key-rotation=9s"],
            "--jwt-key-rotation must be 0 or at least 10s if --jwt-ttl is 1m",
        ),
        (["--jwt-key-rotation=720h", "--jwt-key-id=x"], "--jwt-key-rotation and --jwt-key-id exclude each other"),
    ],
)
def test_lifetimes_of_tokens_and_their_keys(arguments: list[str], error: str) -> None:
    with pytest.raises(InvalidOptionsError) as caught:
        parse(*arguments)
    assert str(caught.value).startswith(error)


def test_keys_may_be_rotated() -> None:
    assert parse().jwt_key_rotation == timedelta()
    assert parse("--jwt-key-rotation=720h").jwt_key_rotation == timedelta(days=30)
    assert parse("--jwt-key-rotation=10s", "--jwt-ttl=3m").jwt_key_rotation == timedelta(seconds=10)


def test_flags_of_features_that_are_off_are_accepted_with_a_warning() -> None:
    options = parse(
        *("--jwt-ttl=1h", "--jwt-signing-algorithm=x", "--jwt-key-rotation=720h", "--oidc-path-prefix=x"),
        *(
            "--enable-metrics=0",
            "--metrics-port=x",
            "--token-verification=local",
            "--image-extension",
            "--kubeconfig=x",
        ),
    )
    assert (options.jwt_key_rotation, options.jwt_signing_algorithm) == (timedelta(days=30), "x")
    assert options.oidc_path_prefix == "x"
    assert options.warnings == (
        "no effect in standalone mode: --kubeconfig, --token-verification, --image-extension",
        "no effect without --jwt-enabled: --jwt-signing-algorithm, --jwt-ttl, --jwt-key-rotation",
        "no effect without --oidc-enabled: --oidc-path-prefix",
        "no effect without --enable-metrics: --metrics-port",
    )


def test_flags_of_features_that_are_on_have_no_warning() -> None:
    jwt = ("--jwt-enabled", "--jwt-key-id=k", "--jwt-ttl=1h", "--oidc-enabled", "--oidc-server-tls-enabled=false")
    assert parse(*jwt, "--metrics-port=1", "--mode=kubernetes", "--token-verification=local").warnings == ()


def test_later_arguments_that_are_no_flags_have_a_warning() -> None:
    options = parse("--jwt-enabled", "false", "--port=1")
    assert options.jwt_enabled
    assert options.warnings == (
        "arguments without effect: \"false\" (the value of a switch follows '=': --jwt-enabled=false)",
    )


def test_every_algorithm_that_keys_are_made_for_can_be_chosen_and_no_other() -> None:
    for algorithm in JWT_ALGORITHMS:
        assert verify_jwt_key(generate_jwt_key(algorithm, None), algorithm, None).algorithm == algorithm


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.choices], ids=lambda flag: flag.name)
def test_only_the_choices_are_accepted(flag: Flag) -> None:
    for choice in flag.choices:
        parse("--jwt-enabled", f"--{flag.name}={choice}")
    with pytest.raises(InvalidOptionsError, match=f": expected one of {', '.join(flag.choices)}$"):
        parse("--jwt-enabled", f"--{flag.name}=nope")


def test_every_need_is_a_switch_or_a_mode() -> None:
    switches = {flag.name for flag in FLAGS if flag.kind is Kind.BOOL}
    assert {flag.needs for flag in FLAGS} - switches == {"", "kubernetes mode"}


FLAG_TEXTS = st.sampled_from([flag.name for flag in FLAGS]).flatmap(
    lambda name: st.text(st.characters(), max_size=8).map(lambda text: f"--{name}={text}")
)


@given(
    st.lists(FLAG_TEXTS | st.text(st.characters(), max_size=8), max_size=6),
    st.dictionaries(st.sampled_from(["HOME", "NAMESPACE", "KUBERNETES_SERVICE_HOST"]), st.text(max_size=8)),
)
@settings(max_examples=100, deadline=None)
def test_any_command_line_is_read_or_refused(arguments: list[str], environ: dict[str, str]) -> None:
    with contextlib.suppress(UsageError, HelpRequested, InvalidOptionsError):
        parse_options(arguments, environ)
