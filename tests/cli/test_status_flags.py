"""The command line of `status`: what it means, and which combinations mean nothing."""

from pathlib import Path

import pytest

from sentry_trio.cli import kubernetes_flags
from sentry_trio.cli.status_flags import parse
from sentry_trio.errors import InvalidOptionsError

IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "NAMESPACE": "mesh", "HOSTNAME": "dapr-sentry-x"}


@pytest.fixture
def service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directory of a pod's token."""
    monkeypatch.setattr(kubernetes_flags, "_SERVICE_ACCOUNT", tmp_path)
    return tmp_path


def test_the_defaults_fit_make_run() -> None:
    asked = parse([], {"HOME": "/home/me"})
    assert (asked.here.name, asked.here.health_port, asked.here.metrics_port) == ("127.0.0.1:8080", 8080, 9090)
    assert not asked.here.metrics_asked
    assert (asked.replicas, asked.issuer_credentials, asked.kubernetes, asked.in_pod) == ((), None, False, False)
    assert (asked.watch, asked.json, asked.timeout) == (None, False, 5)
    assert (asked.namespace, asked.kubeconfig) == ("dapr-system", Path("/home/me/.kube/config"))


@pytest.mark.parametrize(
    ("text", "name", "ports"),
    [
        ("sentry.example:8080", "sentry.example:8080", (8080, None)),
        ("10.0.0.1:8081:9091", "10.0.0.1:8081", (8081, 9091)),
        ("[::1]:8080:9090", "[::1]:8080", (8080, 9090)),
    ],
)
def test_replicas_by_name(text: str, name: str, ports: tuple[int, int | None]) -> None:
    (place,) = parse(["--replica", text], {}).replicas
    assert (place.name, (place.health_port, place.metrics_port), place.metrics_asked) == (name, ports, True)


def test_a_pod_looks_at_its_own_cluster(service_account: Path) -> None:
    assert not parse([], IN_A_POD).in_pod  # without a token there is no way to it
    (service_account / "token").write_text("token")
    assert parse([], IN_A_POD).in_pod
    assert parse([], IN_A_POD).namespace == "mesh"
    assert parse(["--namespace", "other"], IN_A_POD).namespace == "other"
    nameless = {name: value for name, value in IN_A_POD.items() if name != "NAMESPACE"}
    assert parse([], nameless).namespace == "dapr-system"
    (service_account / "namespace").write_text("reported\n")
    assert parse([], nameless).namespace == "reported"


@pytest.mark.parametrize("flag", ["--kubeconfig=/k", "--issuer-credentials=/c"])
def test_flags_override_the_service_account_of_a_pod(service_account: Path, flag: str) -> None:
    (service_account / "token").write_text("token")
    assert not parse([flag], IN_A_POD).in_pod


@pytest.mark.parametrize("flag", ["--kubernetes", "--kubeconfig=/k", "--namespace=mesh"])
def test_flags_that_imply_kubernetes(flag: str) -> None:
    assert parse([flag], {}).kubernetes


def test_the_first_of_several_kubeconfigs_counts() -> None:
    assert parse([], {"KUBECONFIG": ":/a:/b"}).kubeconfig == Path("/a")


@pytest.mark.parametrize(("given", "seconds"), [(["--watch"], 2.0), (["--watch", "0.5"], 0.5)])
def test_watch_takes_an_interval_in_seconds(given: list[str], seconds: float) -> None:
    assert parse(given, {}).watch == seconds


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--watch", "--json"], "--watch and --json exclude each other"),
        (["--kubernetes", "--issuer-credentials=/c"], "the trust bundle is either in files or in a Secret"),
        (["--namespace=m", "--issuer-credentials=/c"], "the trust bundle is either in files or in a Secret"),
        (["--replica=\u00e9..x:1"], 'invalid --replica "\u00e9..x": expected an IP address or a host name'),
        ([f"--replica={'a' * 300}:1"], "expected an IP address or a host name"),
        (["--replica=[x]:1"], 'invalid --replica "[x]": expected an IP address or a host name'),
        (["--watch=0"], "must be seconds, from 0.1 to 3600, got '0'"),
        (["--watch=nan"], "must be seconds"),
        (["--timeout=inf"], "must be seconds"),
        (["--timeout=soon"], "must be seconds"),
        (["--replica=here"], "--replica must be host:port"),
        (["--replica=here:0"], "--replica must be host:port"),
        (["--replica=here:8080:65536"], "--replica must be host:port"),
        (["--replica=a/b:80"], "--replica must be host:port"),
        (["--replica=::1:80"], "--replica must be host:port"),
        (["--namespace=../secrets"], "--namespace must be the name of a namespace"),
        (["--js"], "unknown flag: --js; did you mean --json?"),
        (["more"], "unexpected arguments: more"),
    ],
)
def test_invalid_command_lines_are_rejected(given: list[str], says: str) -> None:
    with pytest.raises(InvalidOptionsError) as caught:
        parse(given, {})
    assert says in str(caught.value)
