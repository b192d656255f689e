"""Configuration files: acceptance, and the effect on certificates."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from testkit.authorities import SKEW

from .asking import replies_or_outcomes
from .comparing import Seen, compare, shown_by
from .inputs import credentials, good_bundle, request
from .servers import Setting, pair


@dataclass(frozen=True)
class Case:
    content: bytes | None
    skew: timedelta = SKEW


def spec(text: str) -> bytes:
    return f"spec: {{{text}}}\n".encode()


def mtls(text: str, skew: timedelta = SKEW) -> Case:
    return Case(spec(f"mtls: {{{text}}}"), skew)


CASES = {
    "none": Case(None),
    "empty": Case(b""),
    "comment": Case(b"# nothing\n"),
    "null": Case(b"null\n"),
    "null specification": Case(b"spec:\n"),
    "null mtls": Case(b"spec:\n  mtls:\n"),
    "list at the root": Case(b"- a\n"),
    "text at the root": Case(b"a\n"),
    "not YAML": Case(b"a: [\n"),
    "tab": Case(b"spec:\n\tmtls: {}\n"),
    "not UTF-8": Case(b"spec: \xff\n"),
    "byte order mark": Case(b"\xef\xbb\xbfspec: {}\n"),
    "NUL": Case(b"spec: {}\0\n"),
    "duplicate key": Case(b"spec: {}\nspec: {}\n"),
    "duplicate key in mtls": mtls("workloadCertTTL: 1h, workloadCertTTL: 2h"),
    "second document": Case(b"spec: {mtls: {workloadCertTTL: 1h}}\n---\nspec: {mtls: {workloadCertTTL: 2h}}\n"),
    "malformed second document": Case(b"spec: {}\n---\na: [\n"),
    "anchors and aliases": Case(b"a: &x {workloadCertTTL: 1h}\nspec: {mtls: *x}\n"),
    "merge key": Case(b"a: &x {workloadCertTTL: 1h}\nspec: {mtls: {<<: *x}}\n"),
    "unknown keys": Case(b"other: 1\nspec: {other: 1, mtls: {other: 1}}\n"),
    "key in other case": Case(b"spec: {mTLS: {workloadCertTTL: 1h}}\n"),
    "mtls is a list": Case(b"spec: {mtls: []}\n"),
    "mtls is text": Case(b"spec: {mtls: a}\n"),
    "lifetime": mtls("workloadCertTTL: 1h30m"),
    "lifetime of fractions": mtls("workloadCertTTL: 1.5h"),
    "lifetime in quotes": mtls('workloadCertTTL: "90s"'),
    "lifetime that is empty": mtls('workloadCertTTL: ""'),
    "lifetime of null": mtls("workloadCertTTL: null"),
    "lifetime without unit": mtls("workloadCertTTL: 24"),
    "lifetime of days": mtls("workloadCertTTL: 1d"),
    "lifetime of zero": mtls("workloadCertTTL: 0"),
    "negative lifetime": mtls("workloadCertTTL: -1h"),
    "lifetime of a list": mtls("workloadCertTTL: []"),
    "lifetime beyond the issuer": mtls("workloadCertTTL: 10000h"),
    "skew": mtls("allowedClockSkew: 5m", skew=timedelta(minutes=5)),
    "skew of zero": mtls("allowedClockSkew: 0s", skew=timedelta(0)),
    "negative skew": mtls("allowedClockSkew: -5m", skew=timedelta(minutes=-5)),
    "skew without unit": mtls("allowedClockSkew: 5"),
    "trust domain of the control plane": mtls("controlPlaneTrustDomain: mesh.example"),
    "enabled": mtls("enabled: false, sentryAddress: 'a:1'"),
    "enabled by a word": mtls("enabled: yes"),
    "enabled by text": mtls('enabled: "true"'),
    "enabled by a number": mtls("enabled: 1"),
    "variable": mtls("workloadCertTTL: $SENTRY_TEST_TTL"),
    "variable in braces": mtls("workloadCertTTL: ${SENTRY_TEST_TTL}"),
    "unknown variable": mtls('workloadCertTTL: "${SENTRY_TEST_NONE}1h"'),
    "variable of one character": mtls('workloadCertTTL: "$1h"'),
    "two dollars": mtls('workloadCertTTL: "$$1h"'),
    "brace that stays open": Case(b"# ${X\nspec: {mtls: {workloadCertTTL: 1h}}\n"),
    "dollar at the end": Case(b"spec: {mtls: {workloadCertTTL: 1h}} # $"),
    "no validators": mtls("tokenValidators: []"),
    "validators of null": mtls("tokenValidators: null"),
    "validator that is built in": mtls("tokenValidators: [{name: kubernetes}]"),
    "validator INSECURE": mtls("tokenValidators: [{name: INSECURE}]"),
    "validator unknown": mtls("tokenValidators: [{name: unknown}]"),
    "validator of another name": mtls("tokenValidators: [{name: oidc}]"),
    "validator without name": mtls("tokenValidators: [{}]"),
    "validator jwks without source": mtls("tokenValidators: [{name: jwks}]"),
    "validator jwks with a bad duration": mtls(
        "tokenValidators: [{name: jwks, options: {source: '{}', requestTimeout: 1d}}]"
    ),
    "secrets with one store twice": Case(spec("secrets: {scopes: [{storeName: a}, {storeName: a}]}")),
    "secrets with a wrong access": Case(spec("secrets: {scopes: [{storeName: a, defaultAccess: maybe}]}")),
    "secrets that are denied": Case(spec("secrets: {scopes: [{storeName: a, defaultAccess: deny}]}")),
    "tracing of a wrong type": Case(spec("tracing: {samplingRate: []}")),
    "features of a wrong type": Case(spec("features: 1")),
}


SEEN: Seen = {
    "configuration-optional": ("none",),
    "configuration-values": ("lifetime of zero", "negative lifetime", "negative skew"),
    "configuration-other-sections": ("tracing of a wrong type", "features of a wrong type"),
    "lifetime-within-the-issuer": ("lifetime beyond the issuer",),
}


@pytest.mark.parametrize("name", CASES)
def test_configurations(dapr_sentry: Path, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    setting = Setting(
        files=credentials(good_bundle()),
        configuration=case.content,
        flags=("--enable-metrics=false",),
        environment={"SENTRY_TEST_TTL": "2h"},
    )
    with pair(dapr_sentry, setting, tmp_path) as servers:
        dapr, ours = replies_or_outcomes(servers, request(), case.skew)
        compare(dapr, ours, differs=shown_by(SEEN, name), may_differ=("start-error-texts",))
