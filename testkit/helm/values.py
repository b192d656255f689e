"""Values as people give them: a set for each possible value, and a file as for Dapr's chart."""

from typing import Any, Final

PEM: Final = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
KEY_PEM: Final = "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n"
OWN_CA: Final = {"root": {"certPEM": PEM}, "issuer": {"certPEM": PEM, "keyPEM": KEY_PEM}}
SIDECAR: Final = {"name": "sidecar", "image": "registry.example/sidecar:1"}
PEER: Final = {"namespaceSelector": {"matchLabels": {"team": "shop"}}}
ISSUED: Final = {"certManager": {"enabled": True, "issuerRef": {"name": "root", "kind": "ClusterIssuer"}}}


def audit_volume(**mount: bool) -> dict[str, Any]:
    """An audit log in a file, and the volume that it is on."""
    return {
        "auditLog": {"path": "/audit/$(POD_NAME).log", "required": True},
        "global": {
            "extraVolumes": {"sentry": [{"name": "audit", "emptyDir": {}}]},
            "extraVolumeMounts": {"sentry": [{"name": "audit", "mountPath": "/audit", **mount}]},
        },
    }


AUDITED: Final = audit_volume()
NUMERIC: Final = "1e3"  # a number in YAML, unless it is between quotation marks
NUMERIC_MAP: Final = {"commit": NUMERIC}

# The shape of Dapr's own chart: the defaults of its section for Sentry and of the globals that this reads, other
# sections and globals beside them; only the image is another one, and the registry has a name that does not exist.
DAPR: Final[dict[str, Any]] = {
    "global": {
        "registry": "registry.example/dapr",
        "tag": "edge",
        "dnsSuffix": ".cluster.local",
        "logAsJson": False,
        "imagePullPolicy": "IfNotPresent",
        "imagePullSecrets": "",
        "priorityClassName": "",
        "nodeSelector": {},
        "tolerations": [],
        "ha": {
            "enabled": False,
            "replicaCount": 3,
            "topologyKey": "topology.kubernetes.io/zone",
            "podAntiAffinityPolicy": "preferredDuringSchedulingIgnoredDuringExecution",
            "disruption": {"minimumAvailable": "", "maximumUnavailable": "25%"},
        },
        "actors": {"enabled": True, "serviceName": "placement"},
        "prometheus": {"enabled": True, "port": 9090},
        "mtls": {
            "enabled": True,
            "workloadCertTTL": "24h",
            "allowedClockSkew": "15m",
            "controlPlaneTrustDomain": "cluster.local",
            "mountSentryVolume": True,
        },
        "issuerFilenames": {},
        "extraVolumes": {"sentry": [], "placement": []},
        "extraVolumeMounts": {"sentry": [], "placement": []},
        "extraContainers": {"sentry": []},
        "initContainers": {"sentry": []},
        "daprControlPlaneOs": "linux",
        "labels": {},
        "seccompProfile": "",
        "rbac": {"namespaced": False},
        "k8sLabels": {
            "app.kubernetes.io/name": "{{ .Release.Name }}",
            "app.kubernetes.io/version": "{{ .Values.global.tag }}",
            "app.kubernetes.io/part-of": "dapr",
            "app.kubernetes.io/managed-by": "{{ .Release.Service }}",
            "app.kubernetes.io/component": "{{ .Values.component }}",
        },
    },
    "dapr_sentry": {
        "replicaCount": 1,
        "logLevel": "info",
        "component": "sentry",
        "image": {"name": "registry.example/sentry-trio:0.1.0"},
        "nameOverride": "",
        "fullnameOverride": "",
        "deploymentAnnotations": {},
        "service": {"type": "ClusterIP", "annotations": {}},
        "ports": {"protocol": "TCP", "port": 443, "targetPort": 50001},
        "tls": {
            "issuer": {"certPEM": "", "keyPEM": ""},
            "root": {"certPEM": ""},
            "trustDomain": "cluster.local",
        },
        "jwt": {
            "enabled": False,
            "keyFilename": "",
            "jwksFilename": "",
            "issuer": "",
            "signingAlgorithm": "",
            "keyID": "",
        },
        "oidc": {
            "enabled": False,
            "server": {"port": 9080},
            "jwksURI": "",
            "pathPrefix": "",
            "allowedHosts": [],
            "tls": {"enabled": True, "certFile": "", "keyFile": ""},
        },
        "livenessProbe": {"initialDelaySeconds": 180, "periodSeconds": 10, "failureThreshold": 5},
        "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 3},
        "debug": {"enabled": False, "port": 40000, "initialDelaySeconds": 30000},
        "runAsNonRoot": True,
        "resources": {},
        "extraEnvVars": {},
        "extraArgs": [],
        "mode": "kubernetes",
    },
    "dapr_operator": {"replicaCount": 1},
    "dapr_placement": {"cluster": {"forceInMemoryLog": True}},
    "dapr_rbac": {"serviceAccount": {"sentry": {"annotations": {"team": "mesh"}}}},
    "dapr_config": {"dapr_config_chart_included": True},
}

ALL: Final[dict[str, dict[str, Any]]] = {
    "defaults": {},
    "dapr": DAPR,
    "image name": {"image": {"name": "mesh-sentry"}, "global": {"registry": "registry.example", "tag": "1"}},
    "image parts": {"image": {"registry": "registry.example", "repository": "mesh/sentry", "tag": "2"}},
    "image digest": {"image": {"digest": "sha256:" + "0" * 64}},
    "pull secret": {"global": {"imagePullSecrets": "one"}},
    "pull secret names": {"global": {"imagePullSecrets": ["one", "two"]}},
    "pull secret objects": {"global": {"imagePullSecrets": [{"name": "one"}]}},
    "replicas": {"replicaCount": 2},
    "ha": {"global": {"ha": {"enabled": True}}},
    "ha, apart": {
        "global": {
            "ha": {"enabled": True, "podAntiAffinityPolicy": "requiredDuringSchedulingIgnoredDuringExecution"},
            "daprControlPlaneArch": "arm64",
        }
    },
    "ha, available": {
        "global": {"ha": {"enabled": True, "disruption": {"minimumAvailable": 1, "maximumUnavailable": "25%"}}}
    },
    "no metrics": {"global": {"prometheus": {"enabled": False}}, "serviceMonitor": {"enabled": True}},
    "other metrics port": {"global": {"prometheus": {"port": 9191}}},
    "json": {"logLevel": "debug", "global": {"logAsJson": True}},
    "trust domain": {"global": {"mtls": {"controlPlaneTrustDomain": "example.org"}, "dnsSuffix": ".k8s.example"}},
    "file names": {"global": {"issuerFilenames": {"ca": "root.pem", "cert": "chain.pem", "key": "key.pem"}}},
    "own ca": {"tls": OWN_CA},
    "own ca, file names": {"tls": OWN_CA, "global": {"issuerFilenames": {"ca": "root.pem"}}},
    "existing secret": {"tls": {"existingSecret": True}},
    "cert-manager": {"tls": ISSUED},
    "unprotected": {"trustBundle": {"protect": False}},
    "flags": {"caKeyType": "p384", "drainTimeout": "20s", "tokenVerification": "local", "extraArgs": ["--max-calls=9"]},
    "ca renewal": {
        "caRenewal": {
            "enabled": False,
            "ttl": "720h",
            "threshold": 0.7,
            "propagationGrace": "1h",
            "scope": "any",
            "anchorsKept": 0,
            "rootKey": "keep",
            "rootTtl": "7200h",
            "rootKeyPassphraseFile": "/passphrase/root",
            "allowTrustCut": "0a" * 32,
        }
    },
    "image extension": {"imageExtension": True},
    "audit, stdout": {"auditLog": {"path": "stdout"}},
    "audit, file": AUDITED,
    "jwt": {
        "jwt": {
            "enabled": True,
            "keyFilename": "/keys/jwt.key",
            "jwksFilename": "/keys/jwks.json",
            "issuer": "https://sentry.example.org",
            "signingAlgorithm": "ES256",
            "keyID": "first",
            "ttl": "1h",
        }
    },
    "jwt, rotated": {"jwt": {"enabled": True, "ttl": "2h", "keyRotation": "24h", "jwksInConfigMap": True}},
    "oidc, tls": {
        "jwt": {"enabled": True},
        "oidc": {
            "enabled": True,
            "tls": {"certFile": "/oidc/tls.crt", "keyFile": "/oidc/tls.key"},
            "allowedHosts": ["a.example.org", "b.example.org"],
            "pathPrefix": "/mesh",
            "jwksURI": "https://a.example.org/jwks.json",
        },
        "networkPolicy": {"enabled": True},
    },
    "oidc, plain": {
        "jwt": {"enabled": True},
        "oidc": {"enabled": True, "server": {"port": 9443}, "tls": {"enabled": False, "certFile": "/oidc/tls.crt"}},
    },
    "ports": {"ports": {"port": 8443, "targetPort": 50443}},
    "service": {"service": {"type": "LoadBalancer", "annotations": {"prometheus.io/scrape": "false"}}},
    "probes": {"livenessProbe": {"initialDelaySeconds": 180}, "startupProbe": {"path": "/healthz"}},
    "no resources": {"resources": None},
    "environment": {"extraEnvVars": {"TZ": "UTC", "LEVEL": 3, "ON": True}},
    "pods": {
        "deploymentAnnotations": {"prometheus.io/port": "1"},
        "global": {
            "labels": {"team": "mesh", "app.kubernetes.io/part-of": "mesh"},
            "priorityClassName": "system-cluster-critical",
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "mesh", "operator": "Exists"}],
            "seccompProfile": "RuntimeDefault",
            "extraVolumes": {"sentry": [{"name": "more", "emptyDir": {}}]},
            "extraVolumeMounts": {"sentry": [{"name": "more", "mountPath": "/more"}]},
            "extraContainers": {"sentry": [SIDECAR]},
            "initContainers": {"sentry": [SIDECAR | {"name": "before"}]},
        },
    },
    "placing": {
        "affinity": {"podAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 2, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
        ],
    },
    "autoscaling": {"autoscaling": {"enabled": True, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}},
    "network policy": {
        "networkPolicy": {
            "enabled": True,
            "clients": [PEER],
            "scrapers": [PEER],
            "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}],
        }
    },
    "service monitor": {"serviceMonitor": {"enabled": True, "labels": {"release": "prom"}, "scrapeTimeout": "5s"}},
    "rules": {
        "prometheusRule": {
            "enabled": True,
            "groups": [{"name": "own", "rules": [{"alert": "Never", "expr": "vector(0)"}]}],
            "runbookBase": "https://docs.example.org/",
        }
    },
    "dashboard": {"dashboard": {"enabled": True, "annotations": {"grafana_folder": "Dapr"}}},
    "dashboard, other label": {"dashboard": {"enabled": True, "labels": {"grafana_dashboard": None, "boards": "yes"}}},
    "namespaced": {"global": {"rbac": {"namespaced": True}}, "rbac": {"readAllNamespaces": True}},
    "no rbac": {"rbac": {"create": False}, "global": {"rbac": {"namespaced": True}}},
    "no configuration": {"configuration": {"create": False}},
    "no configuration, as in dapr": {"dapr_config": {"dapr_config_chart_included": False}},
    "standalone": {"mode": "standalone", "confirmStandalone": True, "tls": OWN_CA},
    "standalone, waiting": {"mode": "standalone", "confirmStandalone": True, "tls": {"existingSecret": True}},
    "no mtls": {"global": {"mtls": {"enabled": False}}},
    "numeric texts": {
        "tls": {"certManager": {"enabled": True, "issuerRef": {"name": NUMERIC}}},
        "deploymentAnnotations": NUMERIC_MAP,
        "service": {"annotations": NUMERIC_MAP},
        "serviceAccount": {"sentry": {"annotations": NUMERIC_MAP}},
        "serviceMonitor": {"enabled": True, "labels": NUMERIC_MAP},
        "prometheusRule": {"enabled": True, "labels": NUMERIC_MAP},
        "dashboard": {"enabled": True, "labels": NUMERIC_MAP, "annotations": NUMERIC_MAP},
        "networkPolicy": {"enabled": True},
        "extraEnvVars": NUMERIC_MAP,
        "global": {
            "labels": NUMERIC_MAP,
            "k8sLabels": NUMERIC_MAP,
            "nodeSelector": NUMERIC_MAP,
            "ha": {"enabled": True},
        },
    },
}
