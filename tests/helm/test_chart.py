"""Rendered chart: valid objects, Dapr's names and arguments, and none of the faults of Dapr's chart."""

import ast
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentry_trio.kube.access_review import Permission, optional_permissions, required_permissions
from sentry_trio.settings.command_line import parse_options
from sentry_trio.settings.options import Mode
from testkit.helm import schemas, values
from testkit.helm.chart import CHART, KUBERNETES, NAMESPACE, Helm, HelmError, Manifest, Rendered


def test_lint(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.run("lint", "--strict", "--kube-version", "1.32.0", str(CHART))


# What differs with the version is in all of these.
_OLDEST = [(name, "1.25.0") for name in ("defaults", "dapr", "ha", "oidc, tls", "autoscaling", "standalone")]


@pytest.mark.parametrize(("name", "kubernetes"), [*((name, "1.32.0") for name in values.ALL), *_OLDEST])
def test_all_objects_are_valid(helm: Helm, name: str, kubernetes: str) -> None:
    rendered = helm.rendered(values.ALL[name], kubernetes=kubernetes)
    for manifest in rendered.objects:
        schemas.check(manifest, kubernetes=kubernetes)
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered.objects]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", values.ALL)
def test_the_process_takes_the_arguments(helm: Helm, name: str) -> None:
    rendered = helm.rendered(values.ALL[name])
    options = parse_options(rendered.arguments, {"NAMESPACE": NAMESPACE})
    ports = {each["name"]: each["containerPort"] for each in rendered.container["ports"]}
    assert options.port == ports["grpc"]
    assert options.healthz_port == ports["healthz"]
    assert options.metrics_port == ports.get("metrics", 0)
    assert options.mode is (Mode.STANDALONE if name.startswith("standalone") else Mode.KUBERNETES)
    for port in rendered.named("Service")["spec"]["ports"]:
        assert port["targetPort"] == ports[port["name"]]
    if options.oidc_enabled:
        assert options.oidc_server_listen_port == ports["oidc"]


def test_a_values_file_for_dapr(helm: Helm) -> None:
    """The same objects under the same names, and the arguments of Dapr's chart to the letter."""
    rendered = helm.rendered(values.DAPR)
    assert {(each["kind"], each["metadata"]["name"]) for each in rendered.objects} == {
        ("ServiceAccount", "dapr-sentry"),
        ("ClusterRole", "dapr-sentry"),
        ("ClusterRoleBinding", "dapr-sentry"),
        ("Role", "dapr-sentry"),
        ("RoleBinding", "dapr-sentry"),
        ("Secret", "dapr-trust-bundle"),
        ("ConfigMap", "dapr-trust-bundle"),
        ("Service", "dapr-sentry"),
        ("Deployment", "dapr-sentry"),
        ("Configuration", "daprsystem"),
        ("ValidatingAdmissionPolicy", "dapr-trust-bundle.dapr-system"),
        ("ValidatingAdmissionPolicyBinding", "dapr-trust-bundle.dapr-system"),
        ("ValidatingAdmissionPolicy", "dapr-mtls.dapr-system"),
        ("ValidatingAdmissionPolicyBinding", "dapr-mtls.dapr-system"),
    }
    assert rendered.container["image"] == "registry.example/sentry-trio:0.1.0"
    assert rendered.container["command"] == ["/sentry"]
    assert " ".join(rendered.arguments) == (
        "--mode kubernetes --log-level info --enable-metrics --metrics-port 9090 --trust-domain cluster.local"
    )
    assert rendered.container["livenessProbe"]["initialDelaySeconds"] == 180
    assert "resources" in rendered.container  # {} laid over defaults changes nothing
    assert rendered.named("ServiceAccount")["metadata"]["annotations"] == {"team": "mesh"}
    assert rendered.named("Deployment")["metadata"]["labels"]["app.kubernetes.io/version"] == "edge"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"replicaCuont": 1}, "additional properties 'replicaCuont' not allowed"),
        ({"oidc": {"server": {"prot": 1}}}, "additional properties 'prot' not allowed"),
        ({"dapr_sentry": {"autoscaling": {"enable": True}}}, "additional properties 'enable' not allowed"),
        ({"logLevel": "loud"}, "/logLevel"),
        ({"drainTimeout": "1d"}, "/drainTimeout"),
        ({"global": {"mtls": {"controlPlaneTrustDomain": "Cluster"}}}, "/global/mtls/controlPlaneTrustDomain"),
        (
            {"global": {"daprControlPlaneOs": "windows"}},
            "daprControlPlaneOs: the image is for Linux nodes, not for windows",
        ),
        ({"jwt": {"enabled": True}, "oidc": {"enabled": True}}, "oidc.tls: certFile and keyFile are needed"),
        ({"caRenewal": {"threshold": 1}}, "/caRenewal/threshold"),
        ({"caRenewal": {"threshold": 0.2}}, "/caRenewal/threshold"),
        ({"caRenewal": {"scope": "all"}}, "/caRenewal/scope"),
        ({"caRenewal": {"anchorsKept": 9}}, "/caRenewal/anchorsKept"),
        ({"caRenewal": {"allowTrustCut": "0a"}}, "/caRenewal/allowTrustCut"),
        ({"auditLog": {"path": "audit.log"}}, "/auditLog/path"),
        ({"auditLog": {"required": True}}, "auditLog.required: set auditLog.path to the place of the log"),
        (
            {"auditLog": {"path": "/audit/a.log"}},
            "/audit/a.log is not on a volume, and the root file system is read-only",
        ),
        (values.AUDITED | {"auditLog": {"path": "/auditor/a.log"}}, "/auditor/a.log is not on a volume"),
        (values.audit_volume(readOnly=True), "mount a writable volume above it"),
        ({"extraArgs": ["--audit-log=/a.log"]}, "auditLog.path: /a.log is not on a volume"),
        ({"terminationGracePeriodSeconds": 10}, "after 10 seconds the kubelet kills the process"),
        ({"drainTimeout": "1m30s", "terminationGracePeriodSeconds": 90}, "more than its drain timeout of 1m30s"),
        ({"extraArgs": ["--drain-timeout", "30s"]}, "more than its drain timeout of 30s"),
        ({"jwt": {"enabled": True, "signingAlgorithm": "HS256"}}, "HS256 signs and verifies with the same key"),
        ({"jwt": {"enabled": True, "keyRotation": "24h", "keyID": "a"}}, "remove jwt.keyID or jwt.keyRotation"),
        ({"autoscaling": {"enabled": True, "minReplicas": 6}}, "minReplicas (6) is above maxReplicas (5)"),
        ({"autoscaling": {"enabled": True}, "resources": None}, "resources.requests.cpu, which is not set"),
        ({"mode": "standalone"}, "gives any identity of the mesh to every caller"),
        ({"extraArgs": ["--mode=standalone"]}, "set confirmStandalone=true"),
        ({"mode": "standalone", "confirmStandalone": True}, "from the mounted Secret and cannot write one there"),
        ({"oidc": {"enabled": True, "tls": {"enabled": False}}}, "nothing to serve without jwt.enabled=true"),
        ({"tls": {"root": {"certPEM": values.PEM}}}, "give all three or none"),
        ({"tls": {**values.OWN_CA, "existingSecret": True}}, "cannot be combined with existingSecret or certManager"),
        ({"tls": {"certManager": {"enabled": True}}}, "tls.certManager.issuerRef.name: name the Issuer"),
        ({"global": {"rbac": {"namespaced": True}}}, "set rbac.readAllNamespaces=true"),
        ({"global": {"issuerFilenames": {"ca": "issuer.crt"}}}, "must differ, got issuer.crt, issuer.crt, issuer.key"),
        ({"logLevel": None}, "missing property 'logLevel'"),
        ({"global": None}, "missing property 'global'"),
        ({"oidc": {"tls": {"enabled": None}}}, "missing property 'enabled'"),
        ({"caRenewal": {"anchorsKept": None}}, "missing property 'anchorsKept'"),
        ({"ports": {"targetPort": "0"}}, "/ports/targetPort"),
        ({"ports": {"port": "65536"}}, "/ports/port"),
        ({"replicaCount": 2**31}, "/replicaCount"),
        ({"livenessProbe": {"periodSeconds": 2**31}}, "/livenessProbe/periodSeconds"),
        ({"livenessProbe": {"successThreshold": 2}}, "/livenessProbe/successThreshold"),
        ({"startupProbe": {"successThreshold": "2"}}, "/startupProbe/successThreshold"),
        ({"networkPolicy": {"clients": ["10.0.0.0/8"]}}, "/networkPolicy/clients/0"),
        ({"terminationGracePeriodSeconds": 10**18}, "/terminationGracePeriodSeconds"),
        ({"caRenewal": {"ttl": "0h"}}, "/caRenewal/ttl"),
        ({"drainTimeout": "9999999h"}, "/drainTimeout"),
        ({"jwt": {"signingAlgorithm": "none"}}, "/jwt/signingAlgorithm"),
        ({"global": {"seccompProfile": "Localhost"}}, "/global/seccompProfile"),
        ({"resources": {"limits": {"memory": "much"}}}, "/resources/limits/memory"),
        ({"deploymentAnnotations": {"a b": "c"}}, "/deploymentAnnotations"),
        ({"extraEnvVars": {"A=B": "c"}}, "/extraEnvVars"),
        ({"component": "a b"}, 'component: "a b" cannot be the value of label app.kubernetes.io/component'),
        ({"global": {"k8sLabels": {"a": "-"}}}, 'global.k8sLabels: "-" cannot be the value of label a'),
        ({"global": {"k8sLabels": {"app": "ca"}}}, "global.k8sLabels: the chart itself sets the label app"),
        ({"global": {"labels": {"a": "b" * 64}}}, "global.labels: "),
        ({"global": {"nodeSelector": {"a": "b c"}}}, 'global.nodeSelector: "b c" cannot be'),
        ({"global": {"priorityClassName": "a b"}}, "/global/priorityClassName"),
        ({"global": {"daprControlPlaneArch": "a\nb: c"}}, "/global/daprControlPlaneArch"),
        ({"global": {"ha": {"topologyKey": "*a"}}}, "/global/ha/topologyKey"),
        ({"global": {"ha": {"disruption": {"minimumAvailable": "1000%"}}}}, "/global/ha/disruption/minimumAvailable"),
        ({"autoscaling": {"maxReplicas": 2**31}}, "/autoscaling/maxReplicas"),
        ({"ports": {"targetPort": 8080}}, "ports.targetPort: port 8080 of the pods is that of the health server, too"),
        (
            {"global": {"prometheus": {"port": "50001"}}},
            "global.prometheus.port: port 50001 of the pods is that of ports.targetPort, too",
        ),
        ({"ports": {"port": 9090}}, "global.prometheus.port: port 9090 of the Service is that of ports.port, too"),
    ],
)
def test_invalid_values_are_rejected_with_a_reason(helm: Helm, given: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError) as caught:
        helm.rendered(given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"drainTimeout": "29s"},
        {"drainTimeout": "1500ms", "terminationGracePeriodSeconds": 2},
        {"extraArgs": ["--drain-timeout=40s", "-drain-timeout=5s"]},
        {"autoscaling": {"minReplicas": 6}},
        {"jwt": {"signingAlgorithm": "HS256"}},
        {"extraArgs": ["--log-level", "debug", "--mode", "kubernetes"], "mode": "standalone"},
        {"extraArgs": ["--issuer-credentials=/ca"], "mode": "standalone", "confirmStandalone": True},
        {"global": {"prometheus": {"enabled": False, "port": 50001}}},
        {"global": dict.fromkeys(("extraVolumes", "extraVolumeMounts", "extraContainers", "initContainers", "labels"))},
        {"component": None, "prometheusRule": {"enabled": True, "groups": None}},
        {"image": {"name": None}, "auditLog": {"path": None}, "tls": {"certManager": {"enabled": None}}},
    ],
)
def test_valid_values_are_accepted(helm: Helm, given: dict[str, Any]) -> None:
    assert helm.rendered(given).arguments


def test_oidc_without_tls(helm: Helm) -> None:
    rendered = helm.rendered(values.ALL["oidc, plain"])
    assert "--oidc-server-tls-enabled=false" in rendered.arguments
    assert not [each for each in rendered.arguments if "-file=" in each]
    assert "--oidc-server-listen-port=9443" in rendered.arguments


def test_ca_renewal(helm: Helm) -> None:
    default = parse_options(helm.rendered().arguments, {"NAMESPACE": NAMESPACE})
    assert default.ca_renewal_enabled
    options = parse_options(helm.rendered(values.ALL["ca renewal"]).arguments, {"NAMESPACE": NAMESPACE})
    assert not options.ca_renewal_enabled
    assert (options.ca_ttl, options.trust_anchor_propagation_grace) == (timedelta(days=30), timedelta(hours=1))
    assert (options.ca_renewal_threshold, options.ca_renewal_scope, options.ca_anchors_kept) == (0.7, "any", 0)
    assert options.allow_trust_cut == "0a" * 32
    assert (options.ca_root_key, options.ca_root_ttl) == ("keep", timedelta(days=300))
    assert options.ca_root_key_passphrase_file == Path("/passphrase/root")
    rendered = helm.rendered({"caRenewal": {"propagationGrace": "auto"}})
    automatic = parse_options(rendered.arguments, {"NAMESPACE": NAMESPACE})
    assert automatic.trust_anchor_propagation_grace == "auto"


def test_the_audit_log(helm: Helm) -> None:
    assert not [each for each in helm.rendered().arguments if "audit" in each]
    assert helm.rendered(values.ALL["audit, stdout"]).arguments[-1] == "--audit-log=stdout"
    rendered = helm.rendered(values.ALL["audit, file"])
    assert rendered.arguments[-2:] == ["--audit-log=/audit/$(POD_NAME).log", "--audit-required"]
    names = {each["name"]: each.get("valueFrom") for each in rendered.container["env"]}
    assert names["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert "POD_NAME" not in {each["name"] for each in helm.rendered().container["env"]}


def test_permissions_are_those_that_the_process_checks(helm: Helm) -> None:
    rendered = helm.rendered()
    granted = {
        *_granted(rendered.named("Role"), namespace=NAMESPACE),
        *_granted(rendered.named("ClusterRole"), namespace=""),
    }
    wanted = {
        *required_permissions(NAMESPACE, bundle="dapr-trust-bundle", configuration="daprsystem"),
        *optional_permissions(NAMESPACE, bundle="dapr-trust-bundle"),
    }
    # What is granted everywhere need not be granted again in a namespace.
    assert granted == wanted - {Permission("get", "dapr.io", "configurations", NAMESPACE, "daprsystem")}


def test_a_standalone_process_has_no_permissions(helm: Helm) -> None:
    kinds = helm.rendered(values.ALL["standalone"]).kinds
    assert "ServiceAccount" in kinds
    assert not kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def _granted(role: Manifest, *, namespace: str) -> set[Permission]:
    return {
        Permission(verb, group, resource, namespace, name)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    }


def test_replicas_are_spread_by_anti_affinity(helm: Helm) -> None:
    assert "podAntiAffinity" not in helm.rendered().pod["spec"]["affinity"]
    (preferred,) = helm.rendered(values.ALL["ha"]).pod["spec"]["affinity"]["podAntiAffinity"].values()
    assert preferred[0]["weight"] == 100
    policy = helm.rendered(values.ALL["ha, apart"]).pod["spec"]["affinity"]["podAntiAffinity"]
    assert list(policy) == ["requiredDuringSchedulingIgnoredDuringExecution"]


def test_replicas_that_need_a_place_of_their_own_can_be_replaced(helm: Helm) -> None:
    """If all places are taken, a new pod is scheduled only after an old one has ended."""
    strategy = helm.rendered(values.ALL["ha, apart"]).named("Deployment")["spec"]["strategy"]
    assert strategy == {"rollingUpdate": {"maxUnavailable": 1}}
    # Else none ends before a new one is ready.
    apart = values.ALL["ha, apart"]["global"]["ha"]
    for given in ({}, values.ALL["ha"], {"global": {"ha": {**apart, "replicaCount": 1}}}):
        assert "strategy" not in helm.rendered(given).named("Deployment")["spec"]


def test_numbers_become_texts_as_they_were_written(helm: Helm) -> None:
    rendered = helm.rendered(
        {
            "deploymentAnnotations": {"release": 20250101, "on": True},
            "service": {"annotations": {"ratio": 0.5}},
            "extraEnvVars": {"SIZE": 12345678},
            "extraArgs": ["--max-calls", 10000000],
            "image": {"tag": 20250101},
            "global": {"nodeSelector": {"gpu": False}, "k8sLabels": {"build": 20250101}},
        }
    )
    annotations = rendered.pod["metadata"]["annotations"]
    assert (annotations["release"], annotations["on"]) == ("20250101", "true")
    assert rendered.named("Service")["metadata"]["annotations"]["ratio"] == "0.5"
    assert {"name": "SIZE", "value": "12345678"} in rendered.container["env"]
    assert rendered.arguments[-1] == "10000000"
    assert rendered.container["image"] == "sentry-trio:20250101"
    assert rendered.pod["spec"]["nodeSelector"] == {"gpu": "false"}
    assert rendered.named("Deployment")["metadata"]["labels"]["build"] == "20250101"


def test_texts_that_look_like_numbers_stay_texts(helm: Helm) -> None:
    """An abbreviated hash of a commit, for example, and a namespace may look so."""
    objects = helm.rendered(values.ALL["numeric texts"], namespace=values.NUMERIC).objects
    assert {each["metadata"].get("namespace", values.NUMERIC) for each in objects} == {values.NUMERIC}
    for each in objects:
        schemas.check(each, kubernetes=KUBERNETES)


def test_file_names_are_the_secrets_keys(helm: Helm) -> None:
    rendered = helm.rendered({"tls": values.OWN_CA, "global": {"issuerFilenames": {"ca": "root.pem"}}})
    assert set(rendered.named("Secret", "dapr-trust-bundle")["stringData"]) == {"root.pem", "issuer.crt", "issuer.key"}
    assert rendered.arguments[-6:-4] == ["--issuer-ca-filename", "root.pem"]


def test_cert_manager_keeps_the_secret(helm: Helm) -> None:
    rendered = helm.rendered(values.ALL["cert-manager"])
    assert "Secret" not in rendered.kinds
    assert rendered.named("Certificate", "dapr-trust-bundle")["spec"]["secretName"] == "dapr-trust-bundle"
    assert rendered.arguments[-6:] == [
        *("--issuer-ca-filename", "ca.crt"),
        *("--issuer-certificate-filename", "tls.crt"),
        *("--issuer-key-filename", "tls.key"),
    ]


def test_the_key_is_mounted_only_if_the_process_reads_it(helm: Helm) -> None:
    """In Kubernetes mode the process asks the API server. A volume can still keep a pod waiting for the Secret."""
    assert "volumes" not in helm.rendered().pod["spec"]
    assert "volumeMounts" not in helm.rendered().container
    for name in ("cert-manager", "existing secret"):
        (volume,) = helm.rendered(values.ALL[name]).pod["spec"]["volumes"]
        assert volume["secret"]["defaultMode"] == 0o400
        assert [item["key"].rpartition(".")[2] for item in volume["secret"]["items"]] == ["crt", "crt"]


def test_only_the_process_can_read_the_files_of_standalone_mode(helm: Helm) -> None:
    rendered = helm.rendered(values.ALL["standalone"])
    (volume,) = rendered.pod["spec"]["volumes"]
    assert volume["secret"] == {"secretName": "dapr-trust-bundle", "defaultMode": 0o400}
    (mount,) = rendered.container["volumeMounts"]
    assert str(parse_options(rendered.arguments, {"NAMESPACE": NAMESPACE}).issuer_credentials) == mount["mountPath"]
    # For the image's user: without a group only root could read files of mode 0400.
    assert rendered.pod["spec"]["securityContext"] == {"fsGroup": 65532}
    dockerfile = (CHART.parents[1] / "Dockerfile").read_text()
    assert "USER 65532:65532" in dockerfile


def test_the_process_can_read_a_passphrase_of_mode_0400(helm: Helm) -> None:
    """As docs/ca-renewal.md mounts it. Every user could read it with the mode that a volume has otherwise."""
    volumes = {"sentry": [{"name": "passphrase", "secret": {"secretName": "passphrase", "defaultMode": 0o400}}]}
    mounts = {"sentry": [{"name": "passphrase", "mountPath": "/passphrase", "readOnly": True}]}
    renewal = {"rootKey": "keep", "rootKeyPassphraseFile": "/passphrase/root"}
    given = {"caRenewal": renewal, "global": {"extraVolumes": volumes, "extraVolumeMounts": mounts}}
    assert helm.rendered(given).pod["spec"]["securityContext"] == {"fsGroup": 65532}
    assert "securityContext" not in helm.rendered().pod["spec"]


def test_only_pods_of_the_cluster_are_admitted(helm: Helm) -> None:
    """A rule without `from` admits every source. Probes have none, as they come from nodes, and the public key set."""
    given = values.ALL["oidc, tls"] | {"networkPolicy": {"enabled": True}}
    rules = helm.rendered(given).named("NetworkPolicy")["spec"]["ingress"]
    sources = {port["port"]: rule.get("from") for rule in rules for port in rule["ports"]}
    any_pod: list[Manifest] = [{"namespaceSelector": {}}]
    assert sources == {50001: any_pod, 9090: any_pod, 8080: None, 9080: None}
    rules = helm.rendered(values.ALL["network policy"]).named("NetworkPolicy")["spec"]["ingress"]
    assert [rule.get("from") for rule in rules] == [[values.PEER], None, [values.PEER]]


@pytest.mark.parametrize(
    ("image", "everywhere", "expected"),
    [
        ({"name": "sentry"}, {"registry": "ghcr.io/dapr", "tag": "1.18.1"}, "sentry-trio:0.1.0"),
        ({"name": "sentry"}, {"registry": "mirror.example/dapr", "tag": "1.18.1"}, "sentry-trio:0.1.0"),
        (
            {"name": "sentry", "registry": "own.example", "tag": "2"},
            {"registry": "daprio"},
            "own.example/sentry-trio:2",
        ),
        ({"name": "dapr"}, {"registry": "docker.io/daprio", "tag": "1"}, "sentry-trio:0.1.0"),
        ({"name": "ghcr.io/dapr/sentry:1.18.1-mariner"}, {}, "sentry-trio:0.1.0"),
    ],
)
def test_daprs_own_image_is_never_run(
    helm: Helm, image: dict[str, Any], everywhere: dict[str, Any], expected: str
) -> None:
    given = {"global": everywhere, "dapr_sentry": {"image": image}}
    assert helm.rendered(given).container["image"] == expected
    assert f"image.name: {image['name']} is Dapr's own Sentry; {expected} is used" in helm.notes(given)


def test_another_image_may_be_named(helm: Helm) -> None:
    for name, expected in (("mesh-ca", "own.example/mesh-ca:2"), ("own.example/daprio/a:1", "own.example/daprio/a:1")):
        given = {"global": {"registry": "own.example", "tag": "2"}, "dapr_sentry": {"image": {"name": name}}}
        assert helm.rendered(given).container["image"] == expected
        assert "Values without effect" not in helm.notes(given)


def test_the_suffix_of_names_may_lack_its_dot(helm: Helm) -> None:
    for suffix, expected in (
        (".k8s.example", "svc.k8s.example:443"),
        ("k8s.example", "svc.k8s.example:443"),
        ("", "svc:443"),
    ):
        rendered = helm.rendered({"global": {"dnsSuffix": suffix}})
        address = rendered.named("Configuration", "daprsystem")["spec"]["mtls"]["sentryAddress"]
        assert address == f"dapr-sentry.dapr-system.{expected}"


def test_the_trust_domain_may_be_a_spiffe_id(helm: Helm) -> None:
    rendered = helm.rendered({"global": {"mtls": {"controlPlaneTrustDomain": "spiffe://mesh.example"}}})
    assert parse_options(rendered.arguments, {"NAMESPACE": NAMESPACE}).trust_domain == "mesh.example"
    mtls = rendered.named("Configuration", "daprsystem")["spec"]["mtls"]
    assert mtls["controlPlaneTrustDomain"] == "mesh.example"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, set()),
        (values.DAPR, set()),
        ({"nameOverride": "a", "dapr_sentry": {"fullnameOverride": "b"}}, {"nameOverride", "fullnameOverride"}),
        ({"dapr_sentry": {"tls": {"generateBundleSecret": False}}}, {"dapr_sentry.tls.generateBundleSecret"}),
        ({"dapr_sentry": {"caRotation": {"enabled": True}}}, {"dapr_sentry.caRotation"}),
        ({"dapr_sentry": {"oidc": {"server": {"address": "::"}}}}, {"dapr_sentry.oidc.server.address"}),
        ({"dapr_sentry": {"livenessProbe": {"grpc": {}}}}, {"dapr_sentry.livenessProbe.grpc"}),
        ({"tls": {"trustDomain": "a"}}, {"tls.trustDomain"}),
        ({"debug": {"enabled": True}}, {"debug.enabled"}),
        ({"ports": {"protocol": "UDP"}}, {"ports.protocol"}),
        ({"jwt": {"ttl": "1h", "keyRotation": "2h"}}, {"jwt.ttl", "jwt.keyRotation"}),
        (
            {"serviceMonitor": {"enabled": True}, "global": {"prometheus": {"enabled": False}}},
            {"serviceMonitor.enabled"},
        ),
        (values.ALL["standalone"] | {"tokenVerification": "local"}, {"tokenVerification"}),
        (values.ALL["standalone"] | {"imageExtension": True}, {"imageExtension"}),
        (
            {"dapr_config": {"dapr_default_system_config_name": "other"}},
            {"dapr_config.dapr_default_system_config_name"},
        ),
        # Maps of the user's own keys.
        ({"dapr_sentry": {"resources": {"limits": {"cpu": 1}}, "service": {"annotations": {"a": "b"}}}}, set()),
        ({"dapr_sentry": {"deploymentAnnotations": {"a": "b"}, "extraEnvVars": {"A": "b"}}}, set()),
    ],
)
def test_values_without_effect_are_listed(helm: Helm, given: dict[str, Any], expected: set[str]) -> None:
    _, heading, listed = helm.notes(given).partition("Values without effect:\n")
    lines = listed.partition("\n\n")[0].splitlines()
    assert {line.strip().partition(": ")[0] for line in lines} == expected
    assert bool(heading) is bool(expected)


def test_the_secret_has_no_content_to_overwrite_with(helm: Helm) -> None:
    rendered = helm.rendered()
    for kind in ("Secret", "ConfigMap"):
        manifest = rendered.named(kind, "dapr-trust-bundle")
        assert manifest["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert not manifest.keys() & {"data", "stringData", "binaryData"}


def test_disruption_is_bounded_by_one_of_two(helm: Helm) -> None:
    spec = helm.rendered(values.ALL["ha, available"]).named("PodDisruptionBudget", "dapr-sentry-budget")["spec"]
    assert spec == {"minAvailable": 1, "selector": {"matchLabels": {"app": "dapr-sentry"}}}
    assert "PodDisruptionBudget" not in helm.rendered().kinds


def test_autoscaling_decides_on_the_replicas(helm: Helm) -> None:
    rendered = helm.rendered(values.ALL["autoscaling"])
    assert "replicas" not in rendered.named("Deployment")["spec"]
    assert "PodDisruptionBudget" in rendered.kinds


def test_the_shipped_rules_are_rendered(helm: Helm) -> None:
    """Beside one's own, and nothing in them is taken for a template of helm's."""
    text = (CHART / "files" / "alerts.yaml").read_text()
    own = values.ALL["rules"]["prometheusRule"]["groups"]
    assert _groups(helm, {"groups": own}) == [*yaml.safe_load(text)["groups"], *own]


def test_runbook_links_begin_with_the_given_base(helm: Helm) -> None:
    groups = _groups(helm, {"runbookBase": "https://docs.example.org/"})
    links = [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"]]
    assert len(links) > 20
    assert all(link.startswith("https://docs.example.org/alerts.md#") for link in links)


def _groups(helm: Helm, given: dict[str, Any]) -> list[dict[str, Any]]:
    rendered = helm.rendered({"prometheusRule": given | {"enabled": True}})
    groups: list[dict[str, Any]] = rendered.named("PrometheusRule")["spec"]["groups"]
    return groups


def test_the_dashboard_is_where_the_sidecar_of_grafana_looks(helm: Helm) -> None:
    """As it is: what Grafana fills in is not taken for a template of helm's."""
    shipped = (CHART / "files" / "dashboard.json").read_text()
    config = helm.rendered(values.ALL["dashboard"]).named("ConfigMap", "dapr-sentry-dashboard")
    assert config["data"] == {"sentry-trio.json": shipped}
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config["metadata"]["annotations"] == {"grafana_folder": "Dapr"}
    other = helm.rendered(values.ALL["dashboard, other label"]).named("ConfigMap", "dapr-sentry-dashboard")
    assert other["metadata"]["labels"]["boards"] == "yes"
    assert "grafana_dashboard" not in other["metadata"]["labels"]


def test_there_is_no_dashboard_unless_asked_for(helm: Helm) -> None:
    names = [each["metadata"]["name"] for each in helm.rendered().objects]
    assert "dapr-sentry-dashboard" not in names


@pytest.mark.parametrize("name", ["defaults", "dapr"])
def test_no_writable_place_and_no_privilege(helm: Helm, name: str) -> None:
    assert helm.rendered(values.ALL[name]).container["securityContext"] == {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_every_value_is_in_the_schema(helm: Helm) -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert yaml.safe_load((CHART / "values.yaml").read_text()).keys() <= schema["properties"].keys() | {
        "dapr_rbac",
        "dapr_config",
    }


def test_versions_are_the_packages() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    source = (CHART.parents[1] / "sentry_trio" / "__init__.py").read_text()
    (version,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    )
    assert chart["version"] == chart["appVersion"] == version


def test_helm_shows_the_charts_metadata(helm: Helm) -> None:
    assert helm.run("show", "readme", str(CHART)).strip() == (CHART / "README.md").read_text().strip()
    chart = yaml.safe_load(helm.run("show", "chart", str(CHART)))
    assert all(address.startswith("https://") for address in (chart["home"], *chart["sources"]))


def test_an_old_cluster_is_refused(helm: Helm) -> None:
    assert helm.rendered(kubernetes="1.23.0-gke.5").kinds
    with pytest.raises(HelmError, match=r"chart requires kubeVersion: >=1\.23\.0-0"):
        helm.rendered(kubernetes="1.22.17")


def test_the_notes_name_the_next_three_commands(helm: Helm) -> None:
    _, _, steps = helm.notes({}).partition("Next:\n")
    commands = [line.split()[3:] for line in steps.splitlines() if line.strip().startswith("kubectl ")]
    assert [command[0] for command in commands] == ["rollout", "exec", "get"]
    assert commands[1][1:] == ["deployment/dapr-sentry", "--container", "dapr-sentry", "--", "/sentry", "status"]
    assert helm.rendered().container["name"] == "dapr-sentry"


def test_the_dapr_cli_does_not_take_this_chart_for_daprs() -> None:
    """The CLI finds the release to upgrade by this word in the chart's name."""
    assert "dapr" not in yaml.safe_load((CHART / "Chart.yaml").read_text())["name"]


def test_values_render_alike_in_every_place(helm: Helm) -> None:
    """A section of a file for Dapr means the same as its keys at the top, `false` included."""
    given = {"runAsNonRoot": False, "replicaCount": 2, "oidc": {"tls": {"enabled": False}}}
    assert _objects(helm.rendered(given)) == _objects(helm.rendered({"dapr_sentry": given}))


def _objects(rendered: Rendered) -> list[Manifest]:
    assert rendered.container["securityContext"]["runAsNonRoot"] is False
    return list(rendered.objects)
