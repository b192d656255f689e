"""Permissions that are asked for beforehand, on an API server in memory."""

from collections.abc import Mapping
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.errors import ApiRejectedError, ApiUnavailableError
from sentry_trio.kube.access_review import (
    MissingPermissionsError,
    Permission,
    check_permissions,
    missing_permissions,
    optional_permissions,
    required_permissions,
)
from testkit.kube.fakes import NAMESPACE, FakeApi, Fault, refused, unavailable
from testkit.log_capture import Line

NEEDED = required_permissions(NAMESPACE, bundle="dapr-trust-bundle", configuration="daprsystem")
USEFUL = optional_permissions(NAMESPACE, bundle="dapr-trust-bundle")
UPDATE = Permission("update", "", "secrets", NAMESPACE, "dapr-trust-bundle")
PODS = Permission("list", "", "pods")
REVIEWS = Permission("create", "authentication.k8s.io", "tokenreviews")
EVENTS = Permission("create", "", "events", NAMESPACE)


def server_without(*rights: Permission) -> FakeApi:
    api = FakeApi(pause=1)
    denied = [
        {
            name: value
            for name, value in (
                ("verb", right.verb),
                ("group", right.group),
                ("resource", right.resource),
                ("namespace", right.namespace),
                ("name", right.name),
            )
            if value
        }
        for right in rights
    ]
    api.allowed = lambda attributes: attributes not in denied
    return api


@pytest.mark.parametrize(
    ("right", "text", "role"),
    [
        (UPDATE, "update secrets dapr-trust-bundle in dapr-system", "Role dapr-sentry in dapr-system"),
        (PODS, "list pods", "ClusterRole dapr-sentry"),
        (REVIEWS, "create tokenreviews.authentication.k8s.io", "ClusterRole dapr-sentry"),
        (EVENTS, "create events in dapr-system", "Role dapr-sentry in dapr-system"),
    ],
)
def test_a_permission_as_text(right: Permission, text: str, role: str) -> None:
    assert str(right) == text
    assert right.role == role


def test_required_and_optional_permissions_are_disjoint() -> None:
    assert len(set(NEEDED)) == len(NEEDED)
    assert not set(NEEDED) & set(USEFUL)
    assert {UPDATE, PODS, REVIEWS} <= set(NEEDED)
    assert EVENTS in USEFUL


async def test_all_are_asked_for_at_once(autojump_clock: MockClock) -> None:
    api = server_without()
    assert await missing_permissions(api, NEEDED + USEFUL) == []
    assert trio.current_time() == 1
    assert len(api.requests) == len(NEEDED + USEFUL)


async def test_missing_permissions_are_named_in_order(autojump_clock: MockClock) -> None:
    api = server_without(REVIEWS, UPDATE, PODS)
    assert await missing_permissions(api, NEEDED) == [right for right in NEEDED if right in {UPDATE, PODS, REVIEWS}]


async def test_failures_that_pass_are_waited_for(autojump_clock: MockClock) -> None:
    api = server_without(PODS)
    api.faults.append(Fault("create", "selfsubject", unavailable(), left=20))
    assert await missing_permissions(api, NEEDED) == [PODS]


async def test_an_unreachable_api_server_is_reported(autojump_clock: MockClock) -> None:
    api = server_without()
    api.down = True
    with pytest.raises(ApiUnavailableError):
        await missing_permissions(api, NEEDED)
    api.down = False
    api.faults.append(Fault("create", "selfsubject", refused(401, "Unauthorized")))
    with pytest.raises(ApiRejectedError):
        await missing_permissions(api, NEEDED)


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (404, "NotFound"), (405, "MethodNotAllowed")])
async def test_permissions_that_cannot_be_checked_are_one_warning(
    autojump_clock: MockClock, lines: list[Line], status: int, reason: str
) -> None:
    api = server_without(REVIEWS)
    api.faults.append(Fault("create", "selfsubject", refused(status, reason), left=float("inf")))
    await check_permissions(api, NEEDED, USEFUL)
    ((level, text),) = [(line["log_level"], line["event"]) for line in lines]
    assert level == "warning"
    number = len(NEEDED + USEFUL)
    assert text.startswith(
        f"cannot check {number} of {number} Kubernetes permissions; a missing one is reported when it is needed. "
    )
    assert text.endswith(f"{status} {reason}")


async def test_permissions_known_to_be_missing_are_an_error_beside_unknown_ones(autojump_clock: MockClock) -> None:
    class Partial(FakeApi):
        async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
            if body["spec"]["resourceAttributes"]["resource"] == "pods":
                raise refused(403, "Forbidden")
            return await super().create(path, body)

    api = Partial()
    api.allowed = server_without(UPDATE, PODS, REVIEWS).allowed
    with pytest.raises(MissingPermissionsError) as caught:
        await check_permissions(api, NEEDED, USEFUL)
    assert caught.value.missing == (UPDATE, REVIEWS)


async def test_one_line_names_all_missing_permissions_and_their_role(autojump_clock: MockClock) -> None:
    with pytest.raises(MissingPermissionsError) as caught:
        await check_permissions(server_without(UPDATE, PODS, REVIEWS, EVENTS), NEEDED, USEFUL)
    assert caught.value.missing == (UPDATE, PODS, REVIEWS)
    assert str(caught.value) == (
        "missing Kubernetes permissions: update secrets dapr-trust-bundle in dapr-system (Role dapr-sentry in "
        "dapr-system); "
        "list pods, create tokenreviews.authentication.k8s.io (ClusterRole dapr-sentry); install or upgrade the chart, "
        "which grants them to the service account dapr-sentry"
    )


async def test_a_missing_optional_permission_is_a_warning(autojump_clock: MockClock, lines: list[Line]) -> None:
    await check_permissions(server_without(EVENTS), NEEDED, USEFUL)
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", WARNING),
    ]


WARNING = (
    "optional Kubernetes permissions are missing, which the chart of this release grants: "
    "create events in dapr-system (Role dapr-sentry in dapr-system)"
)


async def test_with_all_permissions_nothing_is_logged(autojump_clock: MockClock, lines: list[Line]) -> None:
    await check_permissions(server_without(), NEEDED, USEFUL)
    assert lines == []


@pytest.mark.parametrize("status", [{}, {"allowed": False}, {"allowed": "yes"}, {"denied": True}, None])
async def test_only_a_clear_yes_counts(autojump_clock: MockClock, status: object) -> None:
    class Odd(FakeApi):
        async def create(self, path: str, body: object) -> dict[str, object]:
            return {"status": status}

    assert await missing_permissions(Odd(), [PODS]) == [PODS]
