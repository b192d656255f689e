"""Paths."""

import pytest

from sentry_trio.kube.resources import Resource

PODS = Resource("/api/v1", "pods")


def test_paths() -> None:
    assert PODS.everywhere() == "/api/v1/pods"
    assert PODS.object("a", "b.c-0") == "/api/v1/namespaces/a/pods/b.c-0"


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a-", "a/b", "a%2f", "A", "ä", "a b", "a" * 254])
def test_what_is_no_name_has_no_path(name: str) -> None:
    assert PODS.object("a", name) is None
    assert PODS.object(name, "a") is None
