"""The whole application in one process: its files, its reports, and hot restart by real edits of real files."""

import json
import os
import shutil
import socket
import stat
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

import sentry_trio
from sentry_trio.authority import AuthorityStoppedError
from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.errors import (
    IncompleteBundleError,
    InvalidBundleError,
    InvalidConfigurationError,
    InvalidOptionsError,
    ListenError,
    SentryError,
    StoreError,
)
from testkit.authorities import SKEW, Served, serving, wall_clock
from testkit.credentials import contents, successor
from testkit.log_capture import capture_logs

NAMES = ("ca.crt", "issuer.crt", "issuer.key")


def replace_bundle(directory: Path) -> None:
    """Puts credentials in place, or those that may follow the current ones, each by a rename, as careful people do."""
    if (directory / "ca.crt").exists():
        stored = successor(StoredBundle(*((directory / name).read_bytes() for name in NAMES)))
    else:
        stored = generate("localhost", "default", KeyType.P256, now=wall_clock(), allowed_clock_skew=SKEW)
    for name, content in contents(stored).items():
        (directory / f"{name}.new").write_bytes(content)
    for name in NAMES:
        (directory / f"{name}.new").replace(directory / name)


async def verbose(served: Served, *, ready: bool = True) -> dict[str, Any]:
    status, body = await served.get("/readyz?verbose")
    assert status == (200 if ready else 503)
    return dict(json.loads(body))


async def until(served: Served, **expected: object) -> dict[str, Any]:
    """Polls health over HTTP until it reports what is expected."""
    with trio.fail_after(60):
        while True:
            answer = dict(json.loads((await served.get("/readyz?verbose"))[1]))
            if expected.items() <= answer.items():
                return answer
            await trio.sleep(0.02)  # between two questions, not for something to have happened


async def test_an_empty_store_is_filled_and_a_certificate_obtained(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        obtained = await served.obtain()
        assert obtained.spiffe_id == "spiffe://public/ns/default/myapp"
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
        assert obtained.anchors == (tmp_path / "ca.crt").read_bytes()


async def test_an_existing_bundle_is_used_unchanged(tmp_path: Path) -> None:
    replace_bundle(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in NAMES}
    async with serving(tmp_path) as served:
        assert (await served.obtain()).anchors == before["ca.crt"]
    assert {name: (tmp_path / name).read_bytes() for name in NAMES} == before


async def test_health_and_metrics_report_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.obtain()
        assert await served.get("/healthz") == (200, "")
        answer = await verbose(served)
        assert answer["targets"] == {
            "healthz-server": True,
            "metrics-exporter": True,
            "security-provider": True,
            "sentry-server": True,
            "serving-certificate": True,
        }
        assert (answer["run"], answer["last_restart"], answer["degraded"]) == (1, None, None)
        assert (answer["version"], answer["mode"], answer["last_restart_at"]) == (
            sentry_trio.__version__,
            "standalone",
            None,
        )
        certificates = answer["certificates"]
        assert isinstance(certificates, list)
        assert [each["role"] for each in certificates] == ["anchor", "issuer", "serving"]
        _, exposed = await served.get("/metrics", port=served.application.metrics_port)
    values = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposed)
        for sample in family.samples
    }
    assert values[("dapr_sentry_cert_sign_success_total",)] == 1
    issuer = x509.load_pem_x509_certificate((tmp_path / "issuer.crt").read_bytes())
    assert values[("dapr_sentry_issuercert_expiry_timestamp",)] == issuer.not_valid_after_utc.timestamp()
    assert values[("sentry_run_number",)] == 1


@pytest.mark.parametrize("by", [timedelta(days=-1), timedelta(days=366)], ids=["not valid yet", "expired"])
async def test_it_is_not_ready_without_a_valid_serving_certificate(tmp_path: Path, by: timedelta) -> None:
    """No client accepts it then, so that a load balancer has to send them elsewhere."""
    error = timedelta()
    async with serving(tmp_path, now=lambda: wall_clock() + error) as served:
        assert (await served.get("/readyz"))[0] == 200
        error = by
        status, body = await served.get("/readyz?verbose")
        assert (status, [name for name, ready in json.loads(body)["targets"].items() if not ready]) == (
            503,
            ["serving-certificate"],
        )
        assert (await served.get("/livez"))[0] == 200
        error = timedelta()
        assert (await served.get("/readyz"))[0] == 200


async def test_metrics_may_be_off(tmp_path: Path) -> None:
    async with serving(tmp_path, "--enable-metrics=false") as served:
        assert served.application.metrics_port is None
        assert (await served.get("/healthz"))[0] == 200


async def test_an_edit_of_the_credentials_takes_effect(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        first = await verbose(served)
        replace_bundle(tmp_path)
        second = await until(served, run=2, last_restart="succeeded")
        assert second["bundle"] != first["bundle"]
        assert (await served.obtain()).anchors == (tmp_path / "ca.crt").read_bytes()


async def test_an_authority_may_be_replaced_as_a_whole_until_its_first_request(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        first = await verbose(served)
        for name in NAMES:
            (tmp_path / name).unlink()
        replace_bundle(tmp_path)
        second = await until(served, run=2, last_restart="succeeded")
        assert second["bundle"] != first["bundle"]
        await served.obtain()
        for name in NAMES:
            (tmp_path / name).unlink()
        replace_bundle(tmp_path)
        answer = await until(served, run=2, last_restart="failed")
        assert "would cut off clients" in str(answer["degraded"])


async def test_an_edit_of_the_configuration_takes_effect(tmp_path: Path) -> None:
    credentials, configuration = tmp_path / "credentials", tmp_path / "config.yaml"
    credentials.mkdir()
    configuration.write_text("spec: {mtls: {workloadCertTTL: 2h}}")
    async with serving(credentials, "--config", str(configuration)) as served:
        assert (await served.obtain()).valid_until < wall_clock() + timedelta(hours=2)
        configuration.write_text("spec: {mtls: {workloadCertTTL: -1h}}")
        answer = await until(served, last_restart="failed")
        assert "workloadCertTTL" in str(answer["degraded"])
        configuration.write_text("spec: {mtls: {workloadCertTTL: 30m}}")
        await until(served, run=2, degraded=None)
        assert (await served.obtain()).valid_until < wall_clock() + timedelta(minutes=30)


async def issuer_changes(served: Served) -> float:
    _, exposed = await served.get("/metrics", port=served.application.metrics_port)
    line = next(line for line in exposed.splitlines() if line.startswith("dapr_sentry_issuercert_changed_total "))
    return float(line.split()[1])


async def test_a_reload_is_logged_with_its_cause_and_the_settings_in_force(tmp_path: Path) -> None:
    credentials, configuration = tmp_path / "credentials", tmp_path / "config.yaml"
    credentials.mkdir()
    replace_bundle(credentials)
    configuration.write_text("")
    with capture_logs() as lines:
        async with serving(credentials, "--config", str(configuration)) as served:
            first = (await verbose(served))["bundle"]
            configuration.write_text("spec: {mtls: {workloadCertTTL: 90m, allowedClockSkew: 1m, sentryAdress: x}}")
            await until(served, run=2)
            # A configuration is not an issuer credential.
            assert await issuer_changes(served) == 0
            replace_bundle(credentials)
            second = (await until(served, run=3))["bundle"]
            assert await issuer_changes(served) == 1
            configuration.write_text("spec: [")
            answer = await until(served, last_restart="failed")
            assert str(answer["degraded"]).startswith(f'cannot parse configuration "{configuration}": yaml: line 1: ')
            configuration.write_text("spec: {}")
            await until(served, run=4, degraded=None)
            assert await issuer_changes(served) == 1
    edited = f"configuration changed: {configuration}"
    reloads = [line for line in lines if line["event"].startswith("reload ")]
    for line in reloads:
        assert isinstance(line.pop("duration_seconds"), float)
        assert line.pop("scope") == "dapr.sentry"
    assert (reloads[0], reloads[1]) == (
        {
            "event": "reload succeeded",
            "log_level": "info",
            "cause": edited,
            "run": 2,
            "bundle": first,
            "previous_bundle": first,
            "workload_cert_ttl": "1h30m0s",
            "allowed_clock_skew": "1m0s",
        },
        {
            "event": "reload succeeded",
            "log_level": "info",
            "cause": "trust bundle changed: " + ", ".join(str(credentials / name) for name in NAMES),
            "run": 3,
            "bundle": second,
            "previous_bundle": first,
            "workload_cert_ttl": "1h30m0s",
            "allowed_clock_skew": "1m0s",
        },
    )
    failed, recovered = reloads[2:]
    assert failed["event"].startswith("reload failed, still running the previous configuration: ")
    assert (failed["log_level"], failed["cause"], failed["run"]) == ("error", edited, 3)
    assert recovered["cause"] == edited
    assert (recovered["workload_cert_ttl"], recovered["bundle"]) == ("24h0m0s", second)
    announced = [line["event"] for line in lines if line["log_level"] == "warning"]
    unknown = (
        f'{configuration}: unknown field "spec.mtls.sentryAdress" has no effect (line 1); did you mean sentryAddress?'
    )
    edit = "Configuration changed; reloading"
    assert announced == [edit, unknown, "Issuer credentials changed; reloading", unknown, edit, edit]


async def test_a_bad_edit_changes_nothing_and_a_good_one_recovers(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        before = await verbose(served)
        good = (tmp_path / "issuer.key").read_bytes()
        (tmp_path / "issuer.key").write_bytes(b"not a key")
        answer = await until(served, last_restart="failed")
        assert (answer["run"], answer["bundle"]) == (1, before["bundle"])
        assert str(tmp_path / "issuer.key") in str(answer["degraded"])
        await served.obtain()
        (tmp_path / "issuer.key").write_bytes(good)
        await until(served, run=2, degraded=None)


async def test_an_emptied_store_is_not_filled_while_a_bundle_is_in_use(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for name in NAMES:
            (tmp_path / name).unlink()
        answer = await until(served, last_restart="failed")
        assert "the trust bundle is missing" in str(answer["degraded"])
        assert list(tmp_path.iterdir()) == []
        replace_bundle(tmp_path)
        await until(served, run=2)


async def test_writes_without_new_content_cause_no_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.obtain()
        os.utime(tmp_path / "ca.crt")
        (tmp_path / "unrelated").write_text("x")
        content = (tmp_path / "issuer.crt").read_bytes()
        (tmp_path / "issuer.crt").write_bytes(content)
        replace_bundle(tmp_path)
        # Had any of those restarted it, this would be a later run.
        assert (await until(served, last_restart="succeeded"))["run"] == 2


async def test_a_restart_may_be_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.application.authority.restart()
        assert (await verbose(served))["run"] == 2
        (tmp_path / "ca.crt").unlink()
        with pytest.raises(IncompleteBundleError, match=r"ca\.crt missing while"):
            await served.application.authority.restart()
    with pytest.raises(AuthorityStoppedError):
        await served.application.authority.restart()


async def refuses(directory: Path, kind: type[SentryError], match: str, *flags: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(kind, match=match), flatten_subgroups=True):
        async with serving(directory, *flags):
            pytest.fail("it serves")


@pytest.mark.parametrize("missing", NAMES)
async def test_an_incomplete_store_is_an_error_and_is_left_alone(tmp_path: Path, missing: str) -> None:
    replace_bundle(tmp_path)
    (tmp_path / missing).unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    await refuses(tmp_path, IncompleteBundleError, f"{missing} missing while")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


async def test_a_bundle_that_does_not_verify_is_an_error(tmp_path: Path) -> None:
    replace_bundle(tmp_path)
    shutil.copy(tmp_path / "issuer.crt", tmp_path / "ca.crt")
    await refuses(tmp_path, InvalidBundleError, "certificate in trust anchor is not self-signed")


class Ahead:
    """Wall clock that is set by hand."""

    error = timedelta()

    def __call__(self) -> datetime:
        return wall_clock() + self.error


async def test_an_issuer_that_becomes_valid_later_is_waited_for(tmp_path: Path) -> None:
    replace_bundle(tmp_path)
    clock = Ahead()
    clock.error = timedelta(minutes=-30)
    with capture_logs() as lines:
        async with serving(tmp_path, now=clock) as served:
            answer = await verbose(served, ready=False)
            assert (answer["run"], answer["bundle"], list(answer["conditions"])) == (0, None, ["start"])
            assert answer["degraded"].startswith("cannot serve yet: failed to verify CA bundle: ")
            assert answer["degraded"].endswith(f"(issuer chain {tmp_path / 'issuer.crt'})")
            assert await served.get("/livez") == (200, "")
            with pytest.raises(InvalidBundleError, match=" is before "):
                await served.application.authority.restart()
            clock.error = timedelta()
            await served.application.authority.restart()
            await until(served, run=1, degraded=None, last_restart=None)
            await served.obtain()
    errors = [str(line["event"]) for line in lines if line["log_level"] == "error"]
    assert [error.partition(":")[0] for error in errors] == [
        "cannot serve yet, waiting for a certificate to become valid",
        "still cannot serve",
    ]


async def test_an_edit_ends_the_wait_for_an_issuer(tmp_path: Path) -> None:
    replace_bundle(tmp_path)
    clock = Ahead()
    clock.error = timedelta(minutes=-30)
    async with serving(tmp_path, now=clock) as served:
        for name in NAMES:
            (tmp_path / name).rename(tmp_path / f"{name}.old")
        # Nothing is generated in place of a bundle that was there.
        gone = (
            f"cannot serve yet: the trust bundle is missing from {tmp_path}: no new one is generated while one "
            "is "
            "in use; restore the files, or start a new process to generate a new certificate authority"
        )
        await until(served, ready=False, degraded=gone)
        assert not (tmp_path / "ca.crt").exists()
        clock.error = timedelta()
        replace_bundle(tmp_path)
        await until(served, ready=True, run=1, degraded=None)
        await served.obtain()


async def test_credentials_need_a_directory(tmp_path: Path) -> None:
    await refuses(tmp_path / "nowhere", StoreError, "nowhere: no such file or directory")


async def test_directories_of_files_that_are_not_read_at_start_need_not_exist(tmp_path: Path) -> None:
    async with serving(tmp_path, "--jwt-key-filename=/nowhere/jwt.key", "--jwks-filename=/nowhere/jwks.json"):
        pass
    tls = ("--oidc-server-tls-cert-file=/nowhere/tls.crt", "--oidc-server-tls-key-file=/nowhere/tls.key")
    flags = ("--jwt-enabled", "--jwt-signing-algorithm=ES256", "--oidc-enabled", "--oidc-server-listen-port=0", *tls)
    async with serving(tmp_path, *flags):
        pass
    await refuses(tmp_path, StoreError, "failed to add target /nowhere", "--jwt-enabled", "--jwks-filename=/nowhere/x")


@pytest.mark.parametrize("text", ["UPPER", "spiffe://", "spiffe:/x", ""])
async def test_a_trust_domain_that_cannot_be_is_a_wrong_option(text: str, tmp_path: Path) -> None:
    await refuses(tmp_path, InvalidOptionsError, f"invalid --trust-domain '{text}': ", f"--trust-domain={text}")


async def test_a_configuration_that_was_named_must_be_there(tmp_path: Path) -> None:
    await refuses(tmp_path, InvalidConfigurationError, "no such file or directory", "--config", "/nowhere.yaml")
    assert list(tmp_path.iterdir()) == []


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        await refuses(
            tmp_path, ListenError, f"could not listen on port {port}: Address already in use; ", "--port", port
        )
        await refuses(tmp_path, ListenError, f"could not listen on 127.0.0.1:{port}", "--healthz-port", port)


@pytest.mark.parametrize("key_type", ["p384", "ed25519", "rsa2048"])
async def test_the_kind_of_generated_keys_is_a_flag(tmp_path: Path, key_type: str) -> None:
    async with serving(tmp_path, "--ca-key-type", key_type) as served:
        assert (await served.obtain()).certificate.public_key() is not None


async def test_a_lifetime_that_sidecars_never_stop_renewing_is_warned_of(tmp_path: Path) -> None:
    configuration = tmp_path / "config.yaml"
    configuration.write_text("spec: {mtls: {workloadCertTTL: 15m}}")
    with capture_logs() as lines:
        async with serving(tmp_path, "--config", str(configuration)) as served:
            (warning,) = [line["event"] for line in lines if "without pause" in line["event"]]
            assert "spec.mtls.workloadCertTTL 15m0s is not longer than allowedClockSkew 15m0s" in warning
            lines.clear()
            configuration.write_text("spec: {mtls: {workloadCertTTL: 15m1s}}")
            await until(served, run=2)
    assert not any("without pause" in line["event"] for line in lines)


async def test_values_without_effect_are_warned_of(tmp_path: Path) -> None:
    configuration = tmp_path / "config.yaml"
    configuration.write_text("spec: {mtls: {controlPlaneTrustDomain: elsewhere}}")
    with capture_logs() as lines:
        async with serving(tmp_path, "--config", str(configuration)) as served:
            ignored = [line["event"] for line in lines if "has no effect" in line["event"]]
            assert "spec.mtls.controlPlaneTrustDomain 'elsewhere'" in ignored[0]
            lines.clear()
            configuration.write_text("spec: {mtls: {controlPlaneTrustDomain: localhost}}")
            await until(served, run=2)
    assert not any("has no effect" in line["event"] for line in lines)


async def test_a_private_key_that_every_user_can_read_is_a_warning_at_start(tmp_path: Path) -> None:
    jwt = ("--jwt-enabled", "--jwt-signing-algorithm=ES256")
    async with serving(tmp_path, *jwt):
        pass
    for directory in (tmp_path, *tmp_path.parents):
        if not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o001)
    for name in ("issuer.key", "jwt.key"):
        (tmp_path / name).chmod(0o644)
    with capture_logs() as lines:
        async with serving(tmp_path, *jwt) as served:
            await served.application.authority.restart()
    reported = [str(line["event"]) for line in lines if "every user of this machine" in str(line["event"])]
    assert [name for name in ("issuer.key", "jwt.key") for text in reported if f"/{name} (mode 0644)" in text] == [
        "issuer.key",
        "jwt.key",
    ]
