"""The command line that Dapr's own chart (1.18) gives to Sentry, written from its documented behaviour."""

from typing import Any, Final

from .values import DAPR

Values = dict[str, Any]

COMMAND: Final = "/sentry"
_JWT: Final = {
    "keyFilename": "jwt-key-filename",
    "jwksFilename": "jwks-filename",
    "issuer": "jwt-issuer",
    "signingAlgorithm": "jwt-signing-algorithm",
    "keyID": "jwt-key-id",
}

# Values of a file for Dapr.
ROWS: Final[dict[str, Values]] = {
    "defaults": {},
    "json": {"global": {"logAsJson": True}, "dapr_sentry": {"logLevel": "debug"}},
    "high availability": {"global": {"ha": {"enabled": True}}},
    "no metrics": {"global": {"prometheus": {"enabled": False}}},
    "trust domain": {"global": {"mtls": {"controlPlaneTrustDomain": "mesh.example"}}},
    "file names": {"global": {"issuerFilenames": {"ca": "root.pem", "cert": "chain.pem", "key": "chain.key"}}},
    "extra arguments": {"dapr_sentry": {"extraArgs": ["--log-level=warn", "--max-calls", "9"]}},
    "jwt": {"dapr_sentry": {"jwt": {"enabled": True}}},
    "jwt, named": {
        "dapr_sentry": {
            "jwt": {"enabled": True, "issuer": "https://sentry.example", "signingAlgorithm": "ES256", "keyID": "first"},
        }
    },
    "oidc": {
        "dapr_sentry": {
            "jwt": {"enabled": True, "issuer": "https://sentry.example"},
            "oidc": {
                "enabled": True,
                "jwksURI": "https://sentry.example/mesh/jwks.json",
                "pathPrefix": "/mesh",
                "allowedHosts": ["sentry.example", "127.0.0.1"],
                "tls": {"enabled": True, "certFile": "/oidc/tls.crt", "keyFile": "/oidc/tls.key"},
            },
        }
    },
}


def arguments(given: Values) -> list[str]:
    """Arguments for values laid over Dapr's defaults."""
    values = _over(DAPR, given)
    sentry, everywhere = values["dapr_sentry"], values["global"]
    found = ["--mode", sentry["mode"], "--log-level", sentry["logLevel"]]
    if everywhere["logAsJson"]:
        found.append("--log-as-json")
    metrics = everywhere["prometheus"]
    found += ["--enable-metrics", "--metrics-port", str(metrics["port"])] if metrics["enabled"] else []
    found += [] if metrics["enabled"] else ["--enable-metrics=false"]
    found += ["--trust-domain", everywhere["mtls"]["controlPlaneTrustDomain"]]
    if names := everywhere["issuerFilenames"]:
        for key, flag in (("ca", "ca"), ("cert", "certificate"), ("key", "key")):
            found += [f"--issuer-{flag}-filename", names[key]]
    if sentry["jwt"]["enabled"]:
        found.append("--jwt-enabled=true")
        found += [f"--{flag}={sentry['jwt'][key]}" for key, flag in _JWT.items() if sentry["jwt"][key]]
    if sentry["oidc"]["enabled"]:
        found += _oidc(sentry["oidc"])
    return [*found, *sentry["extraArgs"]]


def anchors_name(given: Values) -> str:
    """The file, and the Secret's key, of the trust anchors."""
    name: str = _over(DAPR, given)["global"]["issuerFilenames"].get("ca", "ca.crt")
    return name


def trust_domain(given: Values) -> str:
    domain: str = _over(DAPR, given)["global"]["mtls"]["controlPlaneTrustDomain"]
    return domain


def _oidc(oidc: Values) -> list[str]:
    reported = {
        "jwks-uri": oidc["jwksURI"],
        "path-prefix": oidc["pathPrefix"],
        "allowed-hosts": ",".join(oidc["allowedHosts"]),
        "server-tls-cert-file": oidc["tls"]["certFile"],
        "server-tls-key-file": oidc["tls"]["keyFile"],
        "server-tls-enabled": "true" if oidc["tls"]["enabled"] else "",  # false is not passed on
    }
    fixed = ["--oidc-enabled=true", "--oidc-server-listen-address=0.0.0.0"]
    return fixed + [f"--oidc-{name}={value}" for name, value in reported.items() if value]


def _over(below: Values, above: Values) -> Values:
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        merged[key] = _over(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged
