"""Fixtures with Dapr's programs; without Go or its modules, tests that need them are skipped with the reason."""

import time
from pathlib import Path

import pytest
import yaml

from testkit.cluster.admin import Manifest
from testkit.cluster.cluster import CRDS, Cluster
from testkit.dapr import binaries
from testkit.dapr.binaries import Program
from testkit.go_modules import UnavailableError
from tests.cluster.conftest import cluster

from .ca_process import OURS

__all__ = ["cluster"]


def built(program: Program) -> Path:
    """Builds a program of Dapr's, or skips the test."""
    try:
        return binaries.build(program)
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def dapr_sentry() -> Path:
    """Dapr Sentry."""
    return built("sentry")


@pytest.fixture(scope="session")
def daprd() -> Path:
    """Dapr's sidecar."""
    return built("daprd")


@pytest.fixture(scope="session")
def dapr_operator() -> Path:
    """Dapr's operator."""
    return built("operator")


@pytest.fixture(scope="session")
def dapr_injector() -> Path:
    """Dapr's sidecar injector."""
    return built("injector")


@pytest.fixture(scope="session")
def dapr_placement() -> Path:
    """Dapr's placement service."""
    return built("placement")


@pytest.fixture(params=["ours", "dapr"])
def ca_command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The command of a CA: first sentry-trio, then Dapr Sentry as the reference."""
    return OURS if request.param == "ours" else (str(built("sentry")),)


@pytest.fixture(scope="package")
def dapr_cluster(cluster: Cluster) -> Cluster:
    """A control plane of Kubernetes that knows all of Dapr's objects, as Dapr's chart defines them."""
    for path in sorted(binaries.source().glob("charts/dapr/crds/*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            cluster.admin.request("POST", CRDS, document)
            definition = f"{CRDS}/{document['metadata']['name']}"
            while "True" not in _established(cluster.admin.request("GET", definition)):
                time.sleep(0.02)  # between two looks
    return cluster


def _established(definition: Manifest) -> list[str]:
    conditions = definition.get("status", {}).get("conditions") or []
    return [each["status"] for each in conditions if each["type"] == "Established"]
