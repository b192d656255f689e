"""Paths."""

import pytest

from sentry_trio.kube.pods import pod_resource

PODS = pod_resource()


def test_paths() -> None:
    assert PODS.path == "/api/v1/pods"
    assert PODS.path_of("a", "b.c-0") == "/api/v1/namespaces/a/pods/b.c-0"


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a-", "a/b", "a%2f", "A", "ä", "a b", "a" * 254])
def test_invalid_names_have_no_path(name: str) -> None:
    assert PODS.path_of("a", name) is None
    assert PODS.path_of(name, "a") is None
