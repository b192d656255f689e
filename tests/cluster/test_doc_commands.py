"""The commands of README and docs/ that need a cluster, by a real kubectl and a real helm on the real API server.

No kubelet runs here, so commands that need a running pod are in a list of their own.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio

from testkit import doc_session
from testkit.cluster import binaries
from testkit.cluster.cluster import _ADMIN_TOKEN, Cluster
from testkit.doc_pages import PAGES, Block, commands, shell
from testkit.go_modules import UnavailableError
from testkit.helm import chart
from testkit.helm.chart import Helm
from testkit.helm.dapr_chart import find_chart, served_chart
from tests.test_doc_commands import IN_CLUSTER, is_run

_NAMESPACE: Final = "dapr-system"  # as the pages have it
_KINDS: Final = """kubectl apply -f - << 'END'
{kinds}
END
kubectl wait --for=condition=established crd --all > /dev/null
"""
_KIND: Final = """---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.monitoring.coreos.com}}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {{kind: {kind}, plural: {plural}}}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"""
_OPERATOR: Final = _KINDS.format(
    kinds="".join(_KIND.format(kind=kind, plural=f"{kind.lower()}s") for kind in ("ServiceMonitor", "PrometheusRule"))
)
_TRUSTED: Final = """openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /O=a \\
  -keyout ca.key -out ca.crt
kubectl -n dapr-system create configmap dapr-trust-bundle --from-file=ca.crt --dry-run=client -o yaml \\
  | kubectl apply -f - > /dev/null
"""
_INSTALLED: Final = "helm install sentry helm/sentry-trio --namespace dapr-system --create-namespace > /dev/null"
_DAPR: Final = (
    "helm repo add dapr $DAPR_CHARTS; "
    "helm install dapr dapr/dapr -n dapr-system --create-namespace --skip-crds > /dev/null"
)
# What is there before the first command of a page.
_BEFORE: Final = {
    "docs/alerts.md": _INSTALLED + "\n" + _OPERATOR,
    "docs/ca-renewal.md": f"{_DAPR}\n{_TRUSTED}",
    "docs/dapr-cli.md": _INSTALLED,
    "docs/image.md": _DAPR,
}
# What a command needs besides, by how its block begins.
_BETWEEN: Final = {
    "kubectl -n dapr-system get secret dapr-trust-bundle -o yaml": "kubectl -n dapr-system create secret generic "
    "dapr-trust-bundle",
}
_AFTER: Final = {
    "docs/alerts.md": "kubectl -n dapr-system get servicemonitor/dapr-sentry prometheusrule/dapr-sentry; "
    "kubectl -n dapr-system get configmap/dapr-sentry-dashboard",
    "docs/kubernetes.md": "grep 'name: dapr-trust-bundle' dapr-trust-bundle.yaml",
}
# The pages' examples of both tools in their text, whose verbs and flags have to exist.
_TOOLS: Final = ("kubectl", "helm")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with kubectl and helm."""
    directory = tmp_path_factory.mktemp("tools")
    try:
        built = {"kubectl": binaries.build_kubectl(), "helm": chart.build()}
    except UnavailableError as error:
        pytest.skip(str(error))
    for name, binary in built.items():
        (directory / name).symlink_to(binary)
    return directory


@pytest.fixture
def environ(cluster: Cluster, tools: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables of a shell that reaches the cluster; what a page has installed is gone in the end."""
    kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig", {"token": _ADMIN_TOKEN})
    found = {"KUBECONFIG": str(kubeconfig), "PATH": f"{tools}:{os.environ['PATH']}"}
    yield found
    home = {**found, "HOME": str(tmp_path)}
    releases = ["helm", "list", "--all", "--short", "--namespace", _NAMESPACE]
    for name in subprocess.run(releases, env=home, capture_output=True, text=True, check=True).stdout.split():
        subprocess.run(
            ["helm", "uninstall", name, "--namespace", _NAMESPACE], env=home, capture_output=True, check=True
        )
    delete = [
        "kubectl",
        "-n",
        _NAMESPACE,
        "delete",
        "--ignore-not-found",
        "secret,configmap,configurations.dapr.io",
        "--all",
    ]
    subprocess.run(delete, env=home, capture_output=True, check=True)


def _blocks(name: str) -> list[Block]:
    return [block for block in shell(name) if IN_CLUSTER.match(block.first) and is_run(block)]


@pytest.mark.parametrize("name", [name for name in sorted(PAGES) if _blocks(name) and name != "docs/audit-log.md"])
async def test_commands_have_the_documented_result(
    cluster: Cluster, tools: Path, environ: dict[str, str], tmp_path: Path, name: str
) -> None:
    await cluster.define_configurations()
    directory = tmp_path / "checkout"
    directory.mkdir()
    steps: list[Block | str] = [_BEFORE.get(name, "")]
    for block in _blocks(name):
        steps += [between for first, between in _BETWEEN.items() if block.first.startswith(first)]
        steps.append(block)
    steps.append(_AFTER.get(name, ""))
    found = find_chart()
    assert found is not None
    with served_chart(Helm(tools / "helm", tmp_path), found, tmp_path / "charts") as url:
        run = partial(doc_session.run, directory, steps, namespaces=False, environ={**environ, "DAPR_CHARTS": url})
        await trio.to_thread.run_sync(run)


@pytest.mark.parametrize(
    "command", sorted({each for tool in _TOOLS for name in PAGES for each in commands(name, tool)})
)
def test_verbs_and_flags_exist(tools: Path, tmp_path: Path, command: str) -> None:
    tool, *words = command.partition("|")[0].split()
    if words[0] == "-n":
        words = words[2:]
    known = _output(tools, tmp_path, tool, words[0], "--help")
    if tool == "kubectl":
        known += _output(tools, tmp_path, tool, "options")
    for flag in re.findall(r"(?<!\S)--[a-z-]+", command.partition(" -- ")[0]):
        assert flag in known


def _output(tools: Path, home: Path, tool: str, *arguments: str) -> str:
    command = [str(tools / tool), *arguments]
    return subprocess.run(command, env={"HOME": str(home)}, capture_output=True, text=True, check=True).stdout
