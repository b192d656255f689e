"""The command line of Dapr's own chart: this chart gives the same, and the process takes it."""

import pytest

from sentry_trio.settings.command_line import parse_options
from testkit.helm import dapr
from testkit.helm.chart import NAMESPACE, Helm


@pytest.mark.parametrize("name", dapr.ROWS)
def test_both_charts_render_the_same_arguments(helm: Helm, name: str) -> None:
    """But for the order of the flags for JWT and OIDC, which Dapr's own tests do not look at either."""
    container = helm.rendered(dapr.ROWS[name]).container
    assert container["command"] == [dapr.COMMAND]
    assert sorted(container["args"]) == sorted(dapr.arguments(dapr.ROWS[name]))


def test_the_arguments_are_those_of_dapr() -> None:
    """To the letter, where they are documented; more of its own come last."""
    assert " ".join(dapr.arguments({})) == (
        "--mode kubernetes --log-level info --enable-metrics --metrics-port 9090 --trust-domain cluster.local"
    )
    assert dapr.arguments(dapr.ROWS["extra arguments"])[-3:] == ["--log-level=warn", "--max-calls", "9"]


@pytest.mark.parametrize("name", dapr.ROWS)
def test_the_arguments_are_understood(name: str) -> None:
    options = parse_options(dapr.arguments(dapr.ROWS[name]), {"NAMESPACE": NAMESPACE})
    assert (options.jwt_enabled, options.oidc_enabled) == ("jwt" in name or "oidc" in name, "oidc" in name)
