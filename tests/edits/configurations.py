"""Edits after which the configuration means nothing, or nothing that a certificate could be made with."""

import os
from dataclasses import replace
from pathlib import Path

from sentry_trio.telemetry.metrics import RestartFailure
from tests.edits.place import (
    BINARY,
    CHAIN,
    CONFIG,
    HUGE,
    BadEdit,
    Edit,
    gone,
    link,
    mode,
    put_back,
    put_better,
    replaced,
    write,
)

ENVIRON = {"LONG": "x" * 60_000}


def _config(text: str | bytes) -> Edit:
    return write({CONFIG: text if isinstance(text, bytes) else text.encode()})


def _mtls(text: str) -> Edit:
    return _config(f"spec:\n  mtls:\n    {text}\n")


_BUILT_IN = "the built-in 'kubernetes' and 'insecure' validators cannot be configured manually"
_MEANINGLESS = [
    BadEdit("not YAML", _config("spec: [1, 2\n"), "yaml: line ", (CONFIG,)),
    BadEdit("YAML with a tab", _config("spec:\n\tmtls: {}\n"), "yaml: line 2: ", (CONFIG,)),
    BadEdit("YAML in a loop", _config("spec: &a\n  mtls: *a\n"), "yaml: line 2: the anchor", (CONFIG,)),
    BadEdit("YAML too deep", _config("[" * 200), "nested deeper than 100 levels", (CONFIG,)),
    BadEdit("invalid UTF-8", _config(b"spec: \xff\xfe\n"), "yaml: ", (CONFIG,)),
    BadEdit("binary", _config(BINARY), "yaml: ", (CONFIG,)),
    BadEdit("a list at the root", _config("- spec\n"), "the document must be a mapping, got a list", (CONFIG,)),
    BadEdit("a text at the root", _config("spec\n"), 'the document must be a mapping, got "spec" (line 1)', (CONFIG,)),
    BadEdit("mtls is a list", _config("spec: {mtls: []}\n"), "spec.mtls must be a mapping, got a list", (CONFIG,)),
    BadEdit("TTL is a list", _mtls("workloadCertTTL: [1h]"), "workloadCertTTL must be a text", (CONFIG,)),
    BadEdit("enabled is a word", _mtls("enabled: perhaps"), "mtls.enabled must be true or false", (CONFIG,)),
    BadEdit("duplicate keys", _mtls("enabled: true\n    enabled: true"), "is already defined at line 3", (CONFIG,)),
    BadEdit("negative TTL", _mtls("workloadCertTTL: -1h"), "workloadCertTTL must be positive, got -1h0m0s", (CONFIG,)),
    BadEdit("TTL of zero", _mtls("workloadCertTTL: 0"), "workloadCertTTL must be positive, got 0s", (CONFIG,)),
    BadEdit(
        "TTL of a millennium",
        _mtls("workloadCertTTL: 9e9h"),
        'expected a duration such as 1h30m, got "9e9h"',
        (CONFIG,),
    ),
    BadEdit("TTL of two centuries", _mtls("workloadCertTTL: 1752000h"), "must be at most", (CONFIG,)),
    BadEdit("TTL without unit", _mtls("workloadCertTTL: 24"), 'expected a duration such as 1h30m, got "24"', (CONFIG,)),
    BadEdit("TTL in days", _mtls("workloadCertTTL: 1d"), 'expected a duration such as 1h30m, got "1d"', (CONFIG,)),
    BadEdit("negative skew", _mtls("allowedClockSkew: -5m"), "allowedClockSkew must not be negative", (CONFIG,)),
    BadEdit("malformed skew", _mtls("allowedClockSkew: soon"), "AllowedClockSkew duration", (CONFIG,)),
    BadEdit("unknown validator", _mtls("tokenValidators: [{name: magic}]"), "validator name: 'magic'", (CONFIG,)),
    BadEdit("built-in validator", _mtls("tokenValidators: [{name: kubernetes}]"), _BUILT_IN, (CONFIG,)),
    BadEdit("no key set", _mtls("tokenValidators: [{name: jwks}]"), "property 'location' must not be empty", (CONFIG,)),
    BadEdit("validators not a list", _mtls("tokenValidators: jwks"), "tokenValidators must be a list", (CONFIG,)),
    BadEdit("secrets wrong", _config("spec: {secrets: {scopes: [{defaultAccess: no}]}}"), "allow or deny", (CONFIG,)),
    BadEdit("configuration huge", _config(HUGE), "larger than 1048576 bytes", (CONFIG,)),
    BadEdit(
        "huge by a variable", _config("# $LONG\n" * 20), "after the substitution of environment variables", (CONFIG,)
    ),
    BadEdit("configuration missing", gone(CONFIG), "no such file or directory", (CONFIG,)),
    BadEdit("configuration is a directory", replaced(CONFIG, Path.mkdir), "is a directory", (CONFIG,)),
    BadEdit("configuration is a FIFO", replaced(CONFIG, os.mkfifo), "not a regular file", (CONFIG,)),
    BadEdit("configuration dangles", replaced(CONFIG, link("nowhere")), "dangling symbolic link", (CONFIG,)),
    BadEdit("configuration loops", replaced(CONFIG, link(CONFIG)), "too many levels of symbolic links", (CONFIG,)),
    BadEdit("configuration unreadable", mode(CONFIG, 0), "permission denied", (CONFIG,), unprivileged=True),
]
_OF_VALIDATORS = {"unknown validator", "built-in validator", "no key set"}
_CONFIGURATION = [
    replace(
        each,
        cause=RestartFailure.VALIDATOR if each.name in _OF_VALIDATORS else RestartFailure.CONFIGURATION,
        recovery=put_back if index % 2 else put_better,
    )
    for index, each in enumerate(_MEANINGLESS)
]
_UNUSABLE = [
    BadEdit(
        "TTL of an instant", _mtls("workloadCertTTL: 1ms"), "would have expired when it is signed", (CHAIN, CONFIG)
    ),
    BadEdit("skew of a century", _mtls("allowedClockSkew: 876000h"), "X.509 has no times before 1950", (CHAIN, CONFIG)),
]
_TRIAL = [replace(each, cause=RestartFailure.SERVER_CERTIFICATE) for each in _UNUSABLE]

EDITS = [*_CONFIGURATION, *_TRIAL]
