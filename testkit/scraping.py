"""Scraped metrics, read by Prometheus's own parser."""

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from sentry_trio.telemetry.metrics import Metrics


def scrape(metrics: Metrics) -> dict[str, Metric]:
    body, content_type = metrics.exposition()
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(body.decode()))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in scrape(metrics).values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]
