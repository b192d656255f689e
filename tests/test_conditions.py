"""Named problems that last."""

from sentry_trio.conditions import Conditions


def test_conditions_are_reported_until_they_are_cleared() -> None:
    changes: list[bool] = []
    conditions = Conditions(changes.append)
    away, differs = conditions.condition("api-server"), conditions.condition("config-map")
    assert (dict(conditions.active), changes) == ({}, [])
    assert away.set("cannot reach the API server")
    assert differs.set("the ConfigMap is immutable")
    assert conditions.summary == "cannot reach the API server; the ConfigMap is immutable"
    assert away.message == "cannot reach the API server"
    assert away.clear()
    assert dict(conditions.active) == {"config-map": "the ConfigMap is immutable"}
    assert changes == [True]
    assert differs.clear()
    assert (dict(conditions.active), changes) == ({}, [True, False])


def test_setting_a_condition_again_replaces_its_message() -> None:
    changes: list[bool] = []
    conditions = Conditions(changes.append)
    condition = conditions.condition("restart")
    assert condition.set("one")
    assert not condition.set("two")
    assert (conditions.summary, changes) == ("two", [True])
    assert condition.clear()
    assert not condition.clear()
    assert changes == [True, False]


def test_callers_of_one_name_share_a_condition() -> None:
    conditions = Conditions()
    conditions.condition("restart").set("failed")
    assert conditions.condition("restart").clear()
    assert conditions.summary is None
