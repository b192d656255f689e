"""Validates objects as an API server would: Kubernetes' own schemas, and the used parts of operators' kinds."""

import json
from functools import cache
from typing import Any, Final

import jsonschema
import kubernetes_validate

from .chart import Manifest

_STRING: Final = {"type": "string"}
_DURATION: Final = {"type": "string", "pattern": r"^(0|(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?)$"}
_STRINGS: Final = {"type": "object", "additionalProperties": _STRING}


def _closed(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


# As far as the chart goes; written from the documented fields of each kind.
_FOREIGN: Final[dict[str, dict[str, Any]]] = {
    "dapr.io/v1alpha1/Configuration": _closed(
        mtls=_closed(
            ("controlPlaneTrustDomain", "enabled", "sentryAddress"),
            enabled={"type": "boolean"},
            workloadCertTTL=_STRING,
            allowedClockSkew=_STRING,
            controlPlaneTrustDomain=_STRING,
            sentryAddress=_STRING,
        )
    ),
    "cert-manager.io/v1/Certificate": _closed(
        ("issuerRef", "secretName"),
        isCA={"type": "boolean"},
        commonName={"type": "string", "maxLength": 64},
        subject=_closed(organizations={"type": "array", "items": _STRING}),
        secretName=_STRING,
        secretTemplate=_closed(labels=_STRINGS, annotations=_STRINGS),
        duration=_DURATION,
        renewBefore=_DURATION,
        usages={"type": "array", "items": {"enum": ["digital signature", "cert sign", "crl sign"]}},
        privateKey=_closed(
            algorithm={"enum": ["RSA", "ECDSA", "Ed25519"]},
            size={"type": "integer"},
            encoding={"enum": ["PKCS1", "PKCS8"]},
            rotationPolicy={"enum": ["Never", "Always"]},
        ),
        issuerRef=_closed(("name",), name={"type": "string", "minLength": 1}, kind=_STRING, group=_STRING),
    ),
    "monitoring.coreos.com/v1/ServiceMonitor": _closed(
        ("selector", "endpoints"),
        selector=_closed(matchLabels=_STRINGS),
        namespaceSelector=_closed(matchNames={"type": "array", "items": _STRING}),
        endpoints={
            "type": "array",
            "items": _closed(port=_STRING, path=_STRING, interval=_DURATION, scrapeTimeout=_DURATION),
        },
    ),
    "monitoring.coreos.com/v1/PrometheusRule": _closed(
        groups={
            "type": "array",
            "minItems": 1,
            "items": _closed(
                ("name",),
                name={"type": "string", "minLength": 1},
                interval=_DURATION,
                rules={
                    "type": "array",
                    "items": _closed(
                        ("expr",),
                        alert=_STRING,
                        record=_STRING,
                        expr={"type": ["string", "integer"]},
                        keep_firing_for=_DURATION,
                        labels=_STRINGS,
                        annotations=_STRINGS,
                        **{"for": _DURATION},
                    ),
                },
            ),
        }
    ),
}


def check(manifest: Manifest, *, kubernetes: str) -> None:
    """Validates an object against the schema of its kind; unknown members are errors.

    Raises:
        AssertionError: what is wrong, and where.
    """
    _check(json.dumps(manifest), kubernetes)


@cache  # most objects are the same whatever the values, and a schema is slow to read
def _check(text: str, kubernetes: str) -> None:
    manifest = json.loads(text)
    kind = f"{manifest['apiVersion']}/{manifest['kind']}"
    try:
        if kind in _FOREIGN:
            jsonschema.validate(manifest["spec"], _FOREIGN[kind])
        else:
            kubernetes_validate.validate(manifest, kubernetes, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        raise AssertionError(f"{kind} at {list(error.path)}: {error.message}") from error
