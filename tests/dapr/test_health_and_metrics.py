"""Health paths, and the names, kinds, labels and values of metrics."""

import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .asking import clients
from .comparing import Fields, Seen, compare, shown_by
from .http import ask, wait_until_ready
from .inputs import credentials, good_bundle, request
from .servers import Setting, Started, pair

ALWAYS_SEEN: Final = ("metrics-content-type", "failure-reasons", "go-metrics")
Servers = tuple[Started, Started]


@pytest.fixture(scope="module")
def both(dapr_sentry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    setting = Setting(files=credentials(good_bundle()), flags=("--metrics-listen-address", "127.0.0.1"))
    with pair(dapr_sentry, setting, tmp_path_factory.mktemp("health")) as servers:
        for server in servers:
            wait_until_ready(server)
        with clients(servers) as connected:
            for client in connected:
                client.ask(request())
                client.ask(request(id=""))
                client.ask(request(certificate_signing_request=b"words"))
        yield servers


@dataclass(frozen=True)
class Case:
    target: str
    method: str = "GET"


HEALTH = {
    "healthz": Case("/healthz"),
    "HEAD": Case("/healthz", "HEAD"),
    "POST": Case("/healthz", "POST"),
    "query": Case("/healthz?verbose"),
    "trailing slash": Case("/healthz/"),
    "double slash": Case("//healthz"),
    "root": Case("/"),
    "readyz": Case("/readyz"),
    "livez": Case("/livez"),
    "other": Case("/other"),
}


SEEN: Seen = {
    "health-headers": ("HEAD", "trailing slash", "root", "other"),
    "health-unclean-paths": ("double slash",),
    "health-endpoints": ("readyz", "livez"),
}


@pytest.mark.parametrize("name", HEALTH)
def test_health(both: Servers, name: str) -> None:
    case = HEALTH[name]
    dapr, ours = (ask(server.ports["healthz-port"], case.target, case.method) for server in both)
    compare(dapr, ours, differs=shown_by(SEEN, name))


PATHS = {
    "metrics": Case("/metrics"),
    "root": Case("/"),
    "other": Case("/other"),
    "HEAD": Case("/metrics", "HEAD"),
    "POST": Case("/metrics", "POST"),
}


@pytest.mark.parametrize("name", PATHS)
def test_paths_of_metrics(both: Servers, name: str) -> None:
    case = PATHS[name]
    dapr, ours = (ask(server.ports["metrics-port"], case.target, case.method) for server in both)
    seen = [
        {name: text for name, text in fields.items() if name in {"status", "header content-type"}}
        for fields in (dapr, ours)
    ]
    compare(*seen, differs=ALWAYS_SEEN[:1])


def test_series(both: Servers) -> None:
    """Ours may have more series; Dapr's are all there."""
    dapr, ours = (_series(server.ports["metrics-port"]) for server in both)
    compare(dapr, {name: text for name, text in ours.items() if name in dapr}, differs=ALWAYS_SEEN[1:])


def _series(port: int) -> Fields:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        page = answer.read().decode()
    fields = {}
    for family in text_string_to_metric_families(page):
        fields[f"{family.name}: type"] = family.type
        labels = {pair for sample in family.samples for pair in sample.labels.items()}
        fields[f"{family.name}: labels"] = " ".join(sorted({name for name, _ in labels}))
        if family.name.startswith("dapr_sentry_"):
            fields[f"{family.name}: label values"] = " ".join(sorted({value for _, value in labels}))
            fields[f"{family.name}: help"] = family.documentation
            fields[f"{family.name}: sum"] = f"{sum(sample.value for sample in family.samples):g}"
    return fields
