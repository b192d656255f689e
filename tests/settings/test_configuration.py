"""The configuration file as a whole."""

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.settings.configuration import Configuration, JwksOptions
from sentry_trio.settings.configuration_document import MOST_BYTES, parse_configuration

PREFIX = 'cannot parse configuration "c.yaml": '


def parse(text: str | bytes, **environ: str) -> Configuration:
    data = text if isinstance(text, bytes) else text.encode()
    return parse_configuration(data, environ, name="c.yaml")


def refusal(text: str | bytes, **environ: str) -> str:
    with pytest.raises(InvalidConfigurationError) as caught:
        parse(text, **environ)
    assert str(caught.value).startswith(PREFIX)
    return str(caught.value).removeprefix(PREFIX)


def test_defaults() -> None:
    assert Configuration() == Configuration(timedelta(hours=24), timedelta(minutes=15), None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# comment",
        "---",
        "~",
        "spec:",
        "spec: {mtls: ~}",
        "spec: {mtls: {workloadCertTTL: '', allowedClockSkew: ~}}",
        "apiVersion: 1\nkind: [x]\nmetadata: no",
        "SPEC: {mtls: {workloadCertTTL: 1h}}",
        "spec: {mtls: {WorkloadCertTTL: 1h}}",
        "spec: {tracing: [whatever], mtls: {unknown: 1}}",
    ],
)
def test_empty_documents_leave_the_defaults(text: str) -> None:
    assert parse(text) == Configuration()


def test_a_configuration_as_dapr_writes_it() -> None:
    text = """
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata:
  name: daprsystem
spec:
  mtls:
    enabled: yes
    workloadCertTTL: "${TTL}"
    allowedClockSkew: 5m
    sentryAddress: dapr-sentry.dapr-system.svc.cluster.local:443
    controlPlaneTrustDomain: cluster.local
  secrets:
    scopes:
      - storeName: a
        defaultAccess: Deny
        allowedSecrets: [x, 1]
        deniedSecrets: ~
      - storeName: b
        defaultAccess: allow
      - storeName: c
---
{ not yaml
"""
    assert parse(text, TTL="1h30m") == Configuration(
        timedelta(minutes=90), timedelta(minutes=5), control_plane_trust_domain="cluster.local"
    )


def test_zero_skew_is_fine() -> None:
    assert parse("spec: {mtls: {allowedClockSkew: 0}}").allowed_clock_skew == timedelta()


@pytest.mark.parametrize(
    ("mtls", "error"),
    [
        (
            "workloadCertTTL: 1d",
            'error parsing WorkloadCertTTL duration: expected a duration such as 1h30m, got "1d"',
        ),
        (
            "workloadCertTTL: 24",
            'error parsing WorkloadCertTTL duration: expected a duration such as 1h30m, got "24"',
        ),
        (
            "allowedClockSkew: x",
            'error parsing AllowedClockSkew duration: expected a duration such as 1h30m, got "x"',
        ),
        ("workloadCertTTL: 0", "spec.mtls.workloadCertTTL must be positive, got 0s"),
        ("workloadCertTTL: 1ns", "spec.mtls.workloadCertTTL must be positive, got 0s"),
        ("workloadCertTTL: -1h", "spec.mtls.workloadCertTTL must be positive, got -1h0m0s"),
        ("allowedClockSkew: -1ms", "spec.mtls.allowedClockSkew must not be negative, got -1ms"),
        ("workloadCertTTL: 876001h", "spec.mtls.workloadCertTTL must be at most 876000h0m0s, got 876001h0m0s"),
        ("allowedClockSkew: 876001h", "spec.mtls.allowedClockSkew must be at most 876000h0m0s, got 876001h0m0s"),
        ("enabled: 'true'", 'spec.mtls.enabled must be true or false, got "true" (line 1)'),
        ("sentryAddress: []", "spec.mtls.sentryAddress must be a text, got a list (line 1)"),
        ("controlPlaneTrustDomain: {}", "spec.mtls.controlPlaneTrustDomain must be a text, got a mapping (line 1)"),
        ("tokenValidators: [{name: x}]", "invalid token validator name: 'x'; supported values: 'jwks'"),
        ("a: 1, a: 2", 'yaml: line 1: the key "a" is already defined at line 1'),
    ],
)
def test_mistakes_in_mtls(mtls: str, error: str) -> None:
    assert refusal(f"spec: {{mtls: {{{mtls}}}}}") == error


@pytest.mark.parametrize(
    ("scopes", "error"),
    [
        ("[{storeName: a}, {storeName: a}]", '"a" storeName is repeated in secrets configuration'),
        ("[{}, {}]", '"" storeName is repeated in secrets configuration'),
        ("[{defaultAccess: maybe}]", 'defaultAccess "maybe" can be either allow or deny'),
        ("[{allowedSecrets: x}]", 'spec.secrets.scopes[0].allowedSecrets must be a list, got "x" (line 1)'),
        ("[{deniedSecrets: [[]]}]", "spec.secrets.scopes[0].deniedSecrets[0] must be a text, got a list (line 1)"),
    ],
)
def test_mistakes_in_secrets(scopes: str, error: str) -> None:
    assert refusal(f"spec: {{secrets: {{scopes: {scopes}}}}}") == error


@pytest.mark.parametrize(
    "text", ["[]", "1", "'x'", "spec: []", "spec: {mtls: 1}", "spec: {secrets: x}", "a: b: c", "{"]
)
def test_invalid_configurations(text: str) -> None:
    assert refusal(text)


def test_variables_are_put_in_before_yaml_is_read() -> None:
    assert parse("$ALL", ALL="spec: {mtls: {workloadCertTTL: 1h}}").workload_cert_ttl == timedelta(hours=1)
    assert parse("spec: {mtls: {workloadCertTTL: $MISSING}}") == Configuration()
    assert refusal("spec: $ALL", ALL="x") == 'spec must be a mapping, got "x" (line 1)'


def test_size_is_bounded() -> None:
    assert parse("#" * MOST_BYTES) == Configuration()
    assert refusal("#" * (MOST_BYTES + 1)) == "more than 1048576 bytes"
    assert (
        refusal("$A" * 1000, A="#" * 2000) == "more than 1048576 bytes after the substitution of environment variables"
    )


def test_the_options_of_jwks() -> None:
    found = parse("spec: {mtls: {tokenValidators: [{name: JWKS, options: {Source: https://x, requestTimeout: 5}}]}}")
    assert found.jwks == JwksOptions(source="https://x", request_timeout=timedelta(seconds=5))
    assert parse("").jwks is None


def test_mistakes_in_options_have_no_prefix() -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        parse("spec: {mtls: {tokenValidators: [{name: jwks, options: {minRefreshInterval: 1d}}]}}")
    assert str(caught.value) == (
        'failed to decode validator options: minRefreshInterval: expected a duration such as 1h30m, got "1d" '
        "(token validator 'jwks' in c.yaml)"
    )


def test_a_mistake_elsewhere_comes_before_those_in_options() -> None:
    assert refusal("spec: {mtls: {tokenValidators: [{name: jwks}], workloadCertTTL: 0}}").startswith(
        "spec.mtls.workload"
    )


KEYS = ("spec", "mtls", "workloadCertTTL", "enabled", "tokenValidators", "name", "secrets", "scopes")
MARKS = (
    ": ",
    ":\n",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "<<",
    "'",
    '"',
    "$A",
    "${",
    "~",
)
WORDS = st.sampled_from((*KEYS, *MARKS, "jwks", "1h", "yes"))


@given(st.binary(max_size=60) | st.lists(WORDS, max_size=20).map(lambda words: "".join(words).encode()))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        configuration = parse(text, A="spec: {mtls: ")
    except InvalidConfigurationError:
        return
    assert configuration.workload_cert_ttl > timedelta()


NODES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["1h", "-1h", "24", "jwks", "allow"]),
    lambda nodes: (
        st.lists(nodes, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["tokenValidators", "name", "options", "scopes", "storeName", "workloadCertTTL", "enabled"]
            ),
            nodes,
            max_size=3,
        )
    ),
)


def flow(node: object) -> str:
    """A node as YAML in flow style."""
    if isinstance(node, dict):
        return "{" + ", ".join(f"{key}: {flow(value)}" for key, value in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(flow, node)) + "]"
    return "~" if node is None else str(node)


@given(NODES, NODES)
@settings(max_examples=100, deadline=None)
def test_any_shape_is_read_or_refused(mtls: object, secrets: object) -> None:
    with contextlib.suppress(InvalidConfigurationError):
        parse(f"spec: {{mtls: {flow(mtls)}, secrets: {flow(secrets)}}}")


JWKS_OPTIONS = "{SOURCE: x, sourced: 1h}"


@pytest.mark.parametrize(
    ("mtls", "warnings"),
    [
        ("{workloadCertTTL: 1h, enabled: true, sentryAddress: x, allowedClockSkew: 1m}", []),
        (
            "{workloadCertTtl: 1h}",
            ['"spec.mtls.workloadCertTtl" has no effect (line 2); did you mean workloadCertTTL?'],
        ),
        (
            "{allowedClockskewed: 1m}",
            ['"spec.mtls.allowedClockskewed" has no effect (line 2); did you mean allowedClockSkew?'],
        ),
        ("{zebra: 1}", ['"spec.mtls.zebra" has no effect (line 2)']),
        (
            f"{{tokenValidators: [{{name: jwks, option: 1, options: {JWKS_OPTIONS}}}]}}",
            [
                '"spec.mtls.tokenValidators[0].option" has no effect (line 2); did you mean options?',
                '"spec.mtls.tokenValidators[0].options.sourced" has no effect (line 2); did you mean source?',
            ],
        ),
    ],
)
def test_an_unknown_field_below_mtls_is_a_warning_with_the_nearest_name(mtls: str, warnings: list[str]) -> None:
    found = parse(f"spec: {{tracing: {{samplingrate: 1}}, mtls:\n  {mtls}}}").warnings
    assert list(found) == [f"unknown field {warning}" for warning in warnings]


def test_many_unknown_fields_are_ten_warnings_and_a_number() -> None:
    text = f"spec: {{mtls: {{{', '.join(f'field{number}: 1' for number in range(500))}}}}}"
    assert len(parse(text).warnings) == 11
    assert parse(text).warnings[-1] == "490 more unknown fields have no effect"


def test_warnings_are_no_difference_between_configurations() -> None:
    assert parse("spec: {mtls: {x: 1}}") == parse("")
