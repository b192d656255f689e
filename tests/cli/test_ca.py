"""`sentry-trio ca` on directories: what its actions print, write, refuse and return."""

import errno
import json
import os
import shutil
import signal
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import trio
from cryptography import x509
from msgspec.structs import replace

from sentry_trio.ca.bundle import StoredBundle, verify
from sentry_trio.ca.certificates import fingerprint, read_certificates, write_certificates
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.parts import bundle_parts
from sentry_trio.ca.renewal import RenewalRequest, Situation, plan
from sentry_trio.ca.renewal_record import read_record
from sentry_trio.ca.renewal_state import read_state
from sentry_trio.cli import main
from sentry_trio.cli.ca import places, real_rehearsal, rehearsal
from sentry_trio.cli.ca.backup import BackupError, seal, unseal
from sentry_trio.cli.ca.flags import FORCED, parse
from sentry_trio.cli.ca.overview import policy_of
from sentry_trio.cli.ca.places import Place, open_directory
from sentry_trio.cli.ca.rehearsal_clients import handshake_failure
from sentry_trio.component_settings import environment_settings
from sentry_trio.conditions import Conditions
from sentry_trio.environments.standalone import Standalone
from sentry_trio.errors import InvalidBundleError, Part
from sentry_trio.renewal_status import Phase
from sentry_trio.settings.command_line import parse_options
from sentry_trio.stores.atomic_files import LIMIT
from sentry_trio.telemetry.metrics import Metrics
from testkit.authorities import SKEW, wall_clock
from testkit.ca.making import DAY, HOUR, certificate, new_key, stored

Ca = Callable[..., str]


class Command:
    """The command in this process, on one directory.

    Attributes:
        directory: of the certificate authority.
    """

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        """Runs an action; returns its standard output and standard error."""
        assert main(["ca", *words, "--issuer-credentials", str(self.directory)]) == code
        captured = self._capsys.readouterr()
        return captured.out + captured.err

    def phase(self) -> str:
        return str(json.loads(self("show", "--json"))["phase"])

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}


@pytest.fixture
def ca(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    command = Command(tmp_path / "ca", capsys)
    command("init", str(command.directory), "--trust-domain", "mesh.example")
    return command


@dataclass(frozen=True)
class Backup:
    """A backup of the certificate authority, to be made and restored.

    Attributes:
        ca: the command.
        path: file of the backup.
        passphrase: file of its passphrase.
    """

    ca: Command
    path: Path
    passphrase: Path

    def make(self, *, code: int = 0) -> str:
        return self.ca("backup", str(self.path), "--passphrase-file", str(self.passphrase), code=code)

    def restore(self, *flags: str, code: int = 0) -> str:
        return self.ca("restore", str(self.path), "--passphrase-file", str(self.passphrase), *flags, code=code)


@pytest.fixture
def backup(ca: Command, tmp_path: Path) -> Backup:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery\n")
    return Backup(ca, tmp_path / "backup", passphrase)


def test_init_makes_a_certificate_authority_once(ca: Command) -> None:
    contents = ca.contents()
    assert set(contents) == {"ca.crt", "issuer.crt", "issuer.key"}
    assert {path.stat().st_mode & 0o777 for path in ca.directory.iterdir()} == {0o600}
    assert "already contains a certificate authority" in ca("init", str(ca.directory), code=1)
    assert ca.contents() == contents


def test_show_names_phase_issuer_and_next_step(ca: Command) -> None:
    shown = dict(line.split("  ", 1) for line in ca("show").splitlines())
    assert shown["trust bundle"].strip() == str(ca.directory)
    assert shown["generation"].strip() == "1, since an unknown time"
    assert json.loads(ca("show", "--json"))["since"] is None
    assert shown["phase"].strip() == "steady: one generation is in use"
    assert shown["next step"].strip().startswith("publish, due ")


def test_a_renewal_is_begun_cancelled_and_begun_again(ca: Command) -> None:
    issuer = ca.contents()["issuer.crt"]
    assert "has begun" in ca("rotate", "--start")
    assert len(read_certificates(ca.contents()["ca.crt"])) == 2
    assert ca.contents()["issuer.crt"] == issuer
    assert (ca.phase(), "bridge" in ca("show")) == ("distributing", True)
    assert "is cancelled" in ca("rotate", "--cancel")
    assert ca.phase() == "steady"
    assert "has begun" in ca("rotate", "--start")
    assert len(read_certificates(ca.contents()["ca.crt"])) == 3


def test_rotate_without_a_request_shows_the_state(ca: Command) -> None:
    assert "phase" in ca("rotate")


def test_flatten_leaves_the_issuer_and_its_root(ca: Command) -> None:
    ca("rotate", "--start")
    ca("flatten")
    assert set(ca.contents()) == {"ca.crt", "issuer.crt", "issuer.key", ".sentry-trio-rotation.json"}
    assert [len(read_certificates(ca.contents()[name])) for name in ("ca.crt", "issuer.crt")] == [1, 1]


def test_distrust_replaces_root_and_issuer_if_confirmed(ca: Command) -> None:
    before = ca.contents()
    assert "confirm with --yes" in ca("rotate", "--distrust", code=2)
    assert ca.contents() == before
    ca("rotate", "--distrust", "--yes")
    (root,) = read_certificates(ca.contents()["ca.crt"])
    assert root not in read_certificates(before["ca.crt"])
    since = json.loads(ca("show", "--json"))["since"]
    assert f"2, since {datetime.fromisoformat(since):%Y-%m-%d}" in ca("show")


def test_an_issuer_that_is_not_valid_yet_is_distrusted(ca: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made while the clock was ahead."""
    monkeypatch.setattr("sentry_trio.cli.ca._now", lambda: wall_clock() - timedelta(hours=2))
    before = ca.contents()
    assert "it is not valid before 20" in ca("rotate", "--replace-expired", "--yes", code=1)
    assert ca.contents() == before
    assert "is in use: all sidecars must be restarted" in ca("rotate", "--distrust", "--yes")
    monkeypatch.undo()
    assert ca.phase() == "steady"


def test_show_names_private_keys_that_no_renewal_has_stored(ca: Command) -> None:
    assert json.loads(ca("show", "--json"))["stray_keys"] == []
    (ca.directory / "previous-issuer.key").write_text("mine")
    shown = dict(line.split("  ", 1) for line in ca("show").splitlines())
    assert shown["left alone"].strip().startswith("previous issuer key: no renewal needs or removes them")
    assert json.loads(ca("show", "--json"))["stray_keys"] == ["previous issuer key"]


def test_the_trust_domain_of_the_issuer_is_kept(ca: Command) -> None:
    ca("rotate", "--distrust", "--yes")
    (issuer,) = read_certificates(ca.contents()["issuer.crt"])
    assert "spiffe://mesh.example/ns/default/dapr-sentry" in str(issuer.subject_name)


def test_a_server_with_default_flags_renews_a_new_authority(
    ca: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, environ in enumerate(({}, {"NAMESPACE": "mesh"})):
        ca.directory = tmp_path / str(number)
        monkeypatch.delenv("NAMESPACE", raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        ca("init", str(ca.directory))
        policy = environment_settings(parse_options([], environ)).renewal
        state = read_state(bundle_parts(bundle_in(ca.directory)), policy, wall_clock(), is_published=True)
        assert state.is_own


def test_a_new_root_of_files_has_the_default_trust_domain_of_a_server(ca: Command, tmp_path: Path) -> None:
    ca.directory = constrained(tmp_path, "mesh.example").plain
    assert "has begun" in ca("rotate", "--start", "--ca-renewal-scope=any")
    (issuer, *_) = read_certificates(ca.contents()["issuer.next.crt"])
    options = parse_options([], {})
    assert f"spiffe://{options.trust_domain}/ns/" in str(issuer.subject_name)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["rotate", "--rollback"], "cannot roll back a renewal while the phase is steady"),
        (["rotate", "--cancel"], "cannot cancel"),
        (["rotate", "--replace-expired", "--yes"], "the issuer has not expired"),
    ],
)
def test_a_request_that_does_not_fit_the_phase_writes_nothing(ca: Command, words: list[str], text: str) -> None:
    before = ca.contents()
    assert text in ca(*words, code=1)
    assert ca.contents() == before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nonsense"], "expected one of show, "),
        ([], "ACTION is required"),
        (["init"], "ca init needs a path: the directory for the new certificate authority"),
        (["backup", "file"], "needs --passphrase-file"),
        (["show", "--start"], "--start belongs to 'ca rotate'"),
        (["show", "--ca-key-type=rsa"], 'invalid --ca-key-type "rsa": expected one of p256, p384, ed25519, rsa2048'),
        (["rotate", "--start", "--cancel"], "--start and --cancel exclude each other"),
        (["rehearse", "--ttl=19s"], "--ttl must be at least 20s"),
        (["show", "--kubernetes"], "the trust bundle is either in files or in a Secret"),
        (
            ["show", "--namespace", "Not A Name", "--kubeconfig", "x"],
            "the trust bundle is either in files or in a Secret",
        ),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(ca: Command, words: list[str], text: str) -> None:
    assert text in ca(*words, code=2)


def test_without_a_trust_bundle_nothing_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"there is no trust bundle in {tmp_path}" in Command(tmp_path, capsys)("show", code=1)


# --- rehearse


def test_a_rehearsal_shows_each_phase(ca: Command) -> None:
    lines = ca("rehearse").splitlines()
    assert [line.split(":")[0].split("  ")[-1] for line in lines] == [
        "steady",
        "distributing",
        "signing",
        "retiring",
        "without the bridge",
    ]
    assert all(line.startswith("ok ") for line in lines)
    assert ": 1 handshake, " in lines[0]
    assert ": 4 handshakes, " in lines[1]


def test_a_rehearsal_as_json(ca: Command) -> None:
    phases = json.loads(ca("rehearse", "--json"))["phases"]
    assert [phase["name"] for phase in phases][-1] == "without the bridge"
    assert all(phase["handshakes"] > 0 and phase["failures"] == [] and phase["milliseconds"] > 0 for phase in phases)


@pytest.mark.soak  # half a minute of real time
def test_a_real_rehearsal_shows_each_phase(ca: Command) -> None:
    lines = ca("rehearse", "--real", "--ttl=20s").splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"ok      {name}" for name in ("steady", "distributing", "signing", "retiring", "after the bridge")
    ]
    assert not any(": 0 handshakes" in line for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_real_rehearsal_leaves_no_keys_behind(
    number: signal.Signals, ca: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    seen: list[str] = []

    async def interrupted(*_: object) -> None:
        seen.extend(path.name for path in (tmp_path / "temporary").glob("*/*"))
        os.kill(os.getpid(), number)
        await trio.sleep_forever()

    monkeypatch.setattr(real_rehearsal._Rehearsal, "run", interrupted)
    assert ca("rehearse", "--real", code=1) == f"sentry-trio ca rehearse: interrupted by {number.name}\n"
    assert "issuer.key" in seen
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize("full", [False, True])
def test_a_real_rehearsal_without_room_for_its_files(
    full: bool, ca: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path if full else tmp_path / "missing"))
    if full:
        monkeypatch.setattr(Path, "write_text", fail)
    shown = ca("rehearse", "--real", code=1)
    assert shown.startswith("sentry-trio ca rehearse: cannot " + ("write" if full else "create a temporary directory"))
    assert shown.endswith(": no space left on device\n" if full else ": no such file or directory\n")
    assert not list(tmp_path.glob("sentry-trio-rehearsal-*"))


async def test_a_real_rehearsal_connects_over_tcp() -> None:
    now = wall_clock()
    made, other = (generate("td", "ns", KeyType.P256, now=now, allowed_clock_skew=SKEW) for _ in range(2))
    leaf = rehearsal._leaf("issuer", made, now)
    server = rehearsal.tls_context(ssl.PROTOCOL_TLS_SERVER, leaf, made.anchors)
    for anchors, why in ((made.anchors, None), (other.anchors, "CERTIFICATE_VERIFY_FAILED")):
        client = rehearsal.tls_context(ssl.PROTOCOL_TLS_CLIENT, leaf, anchors)
        assert await handshake_failure(client, server) == why


def test_a_rehearsal_fails_without_the_bridge(ca: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_bridge(name: str, bundle: StoredBundle, now: datetime) -> rehearsal.Leaf:
        issuer, *_ = read_certificates(bundle.chain)
        return original(name, replace(bundle, chain=write_certificates([issuer])), now)

    original = rehearsal._leaf
    monkeypatch.setattr(rehearsal, "_leaf", without_bridge)
    shown = ca("rehearse", code=1)
    assert "failed  signing" in shown
    assert "CERTIFICATE_VERIFY_FAILED" in shown


# --- backup


def test_a_backup_holds_all_parts_and_is_not_overwritten(ca: Command, backup: Backup) -> None:
    ca("rotate", "--start")
    assert "wrote 6 parts" in backup.make()
    assert backup.path.stat().st_mode & 0o777 == 0o600
    assert unseal(backup.path.read_bytes(), b"correct horse battery")[Part.KEY] == ca.contents()["issuer.key"]
    assert b"PRIVATE KEY" not in backup.path.read_bytes()
    assert f"cannot write {backup.path}: File exists" in backup.make(code=1)


@pytest.mark.parametrize(
    ("change", "passphrase", "text"),
    [
        (lambda sealed: sealed, b"another one", "the passphrase is wrong"),
        (lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]), b"passphrase", "the passphrase is wrong"),
        (lambda sealed: sealed[:30], b"passphrase", "not a backup of sentry-trio"),
        (lambda sealed: b"x" + sealed, b"passphrase", "not a backup of sentry-trio"),
    ],
)
def test_a_backup_that_was_changed_is_not_read(change: Callable[[bytes], bytes], passphrase: bytes, text: str) -> None:
    sealed = seal({Part.KEY: b"key"}, b"passphrase")
    with pytest.raises(BackupError, match=text):
        unseal(change(sealed), passphrase)


@pytest.mark.parametrize(
    ("content", "text"), [(b"short\n", "at least 8 characters"), (None, "cannot read the passphrase file")]
)
def test_a_passphrase_has_to_be_there_and_long(backup: Backup, content: bytes | None, text: str) -> None:
    backup.passphrase.unlink()
    if content is not None:
        backup.passphrase.write_bytes(content)
    assert text in backup.make(code=1)
    assert not backup.path.exists()


def test_a_backup_is_restored_to_an_empty_directory(ca: Command, backup: Backup) -> None:
    ca("rotate", "--start")
    contents = ca.contents()
    backup.make()
    for file in ca.directory.iterdir():
        file.unlink()
    assert "restored 6 parts" in backup.restore()
    assert ca.contents() == contents


def test_a_backup_that_would_cut_off_clients_is_not_restored(ca: Command, backup: Backup) -> None:
    backup.make()
    ca("rotate", "--distrust", "--yes")
    contents = ca.contents()
    assert "error: cut-" in backup.restore(code=1)
    assert ca.contents() == contents


def replace_by_another(ca: Command, tmp_path: Path) -> None:
    """Replaces the trust bundle by another, which running processes reject."""
    ca("init", str(tmp_path / "other"))
    for name in ("ca.crt", "issuer.crt", "issuer.key"):
        (ca.directory / name).write_bytes((tmp_path / "other" / name).read_bytes())


def test_a_backup_of_the_trust_bundle_in_use_is_restored_over_a_rejected_one(
    ca: Command, tmp_path: Path, backup: Backup
) -> None:
    ca("rotate", "--start")
    retire(ca.directory)
    contents = ca.contents()
    backup.make()
    replace_by_another(ca, tmp_path)
    assert "restored " in backup.restore()
    assert ca.contents() == contents


def test_a_backup_that_is_restored_anyway_names_the_replaced_bundle(ca: Command, backup: Backup) -> None:
    backup.make()
    contents = ca.contents()
    ca("rotate", "--distrust", "--yes")
    (replaced,) = read_certificates(ca.contents()["issuer.crt"])
    backup.restore("--yes")
    record = read_record(ca.contents().pop(".sentry-trio-rotation.json"))
    assert record is not None
    assert contents.items() < ca.contents().items()
    assert record.accepted_cut == verify(bundle_in(ca.directory), wall_clock()).fingerprint
    assert fingerprint(replaced) in {each.issuer for each in record.former}


def bundle_in(directory: Path) -> StoredBundle:
    return StoredBundle(*((directory / name).read_bytes() for name in ("ca.crt", "issuer.crt", "issuer.key")))


def make_unreadable(path: Path, kind: str) -> str:
    """Puts something in a file's place that cannot be read; returns the reason."""
    if kind == "directory":
        path.mkdir()
        return "is a directory"
    path.write_bytes(bytes(LIMIT + 1))
    return f"larger than {LIMIT} bytes"


@pytest.mark.parametrize("kind", ["directory", "too large"])
def test_a_backup_without_an_unreadable_part_needs_attention(ca: Command, backup: Backup, kind: str) -> None:
    keys = [ca.directory / name for name in ("previous-root.key", "root.key")]
    reasons = [make_unreadable(key, kind) for key in keys]
    lines = backup.make(code=3).splitlines()
    assert f"wrote 3 parts of {ca.directory} to {backup.path}, encrypted; JWT keys are not included" in lines
    assert [line for line in lines if line.startswith("sentry-trio ca backup: ")] == [
        f"sentry-trio ca backup: {backup.path} is incomplete: failed to read {part}: {key}: {why}; "
        "make it readable, or move it elsewhere, and write another backup"
        for part, key, why in zip(("previous root key", "root key"), keys, reasons, strict=True)
    ]
    assert set(unseal(backup.path.read_bytes(), b"correct horse battery")) == {Part.ANCHORS, Part.CHAIN, Part.KEY}


@pytest.mark.parametrize("kind", ["directory", "too large"])
@pytest.mark.parametrize("name", ["root.key", "issuer.crt"])
def test_an_unreadable_part_is_not_replaced_by_a_backup(ca: Command, backup: Backup, name: str, kind: str) -> None:
    backup.make()
    path = ca.directory / name
    path.unlink(missing_ok=True)
    reason = make_unreadable(path, kind)
    shown = backup.restore("--yes", code=1)
    assert shown.startswith("sentry-trio ca restore: nothing was written: failed to read ")
    assert shown.endswith(f": {path}: {reason}; make it readable, or move it elsewhere, and try again\n")
    path.rename(ca.directory.parent / "elsewhere")
    backup.restore("--yes")
    assert ca("validate") == "ok: no findings\n"


# --- validate, preflight


def test_a_new_certificate_authority_is_valid(ca: Command) -> None:
    assert ca("validate") == "ok: no findings\n"
    assert json.loads(ca("validate", str(ca.directory), "--json")) == {"rejected": False, "findings": []}


def test_a_key_of_another_issuer_is_refused(ca: Command, tmp_path: Path) -> None:
    ca("init", str(tmp_path / "other"))
    (ca.directory / "issuer.key").write_bytes((tmp_path / "other" / "issuer.key").read_bytes())
    assert ca("validate", code=1).startswith("error: key-mismatch: ")


def test_a_replacement_that_cuts_off_clients_is_refused_and_one_that_is_bridged_is_not(
    ca: Command, tmp_path: Path
) -> None:
    ca("init", str(tmp_path / "other"))
    assert "error: cut-leaves: " in ca("preflight", str(tmp_path / "other"), code=1)
    bridged = tmp_path / "bridged"
    bridged.mkdir()
    ca("rotate", "--start")
    contents = ca.contents()
    (bridged / "ca.crt").write_bytes(contents["ca.crt"])
    (bridged / "issuer.crt").write_bytes(contents["issuer.next.crt"])
    (bridged / "issuer.key").write_bytes(contents["issuer.next.key"])
    assert "error" not in ca("preflight", str(bridged))


@dataclass(frozen=True)
class Constrained:
    """Trust bundles of one root, without and with name constraints of the issuer.

    Attributes:
        plain: directory without.
        constrained: directory with the constraints.
    """

    plain: Path
    constrained: Path


def constrained(path: Path, permitted: str, subject: str = "issuer") -> Constrained:
    value = x509.NameConstraints([x509.UniformResourceIdentifier(permitted)], None)
    dates = {"not_before": wall_clock() - HOUR, "not_after": wall_clock() + 30 * DAY}
    root_key, key = new_key(), new_key()
    root = certificate("root", root_key, **dates)
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, subject)])
    made = Constrained(path / "plain", path / "constrained")
    for directory, more in ((made.plain, []), (made.constrained, [x509.Extension(value.oid, True, value)])):
        directory.mkdir()
        bundle = stored([root], [certificate(name, key, "root", root_key, more=more, **dates)], key)
        for file, content in zip(("ca.crt", "issuer.crt", "issuer.key"), bundle_parts(bundle).values(), strict=True):
            (directory / file).write_bytes(content)
            (directory / file).chmod(0o600)
    return made


async def load(directory: Path, *flags: str) -> str | None:
    """Loads a trust bundle as a server does; returns the reason of a rejection, or None."""
    settings = environment_settings(parse_options([f"--issuer-credentials={directory}", *flags], {}))
    standalone = Standalone(settings, {}, metrics=Metrics(), now=wall_clock, conditions=Conditions())
    async with standalone.open() as environment:
        try:
            await environment.run_inputs(may_generate=False)
        except InvalidBundleError as error:
            return str(error)
    return None


_MESH = "spiffe://mesh.example/ns/dapr-system/dapr-sentry"


@pytest.mark.parametrize(
    ("permitted", "subject", "flags", "is_rejected"),
    [
        ("mesh.example", "issuer", ["--trust-domain=mesh.example"], False),
        ("mesh.example", "issuer", ["--trust-domain=spiffe://mesh.example"], False),
        ("mesh.example", "issuer", ["--trust-domain=other.example"], True),
        ("mesh.example", "issuer", [], True),
        ("localhost", "issuer", [], False),
        ("localhost", "spiffe://Not A Domain/", [], False),
        ("mesh.example", _MESH, ["--trust-domain=other.example"], True),
    ],
)
def test_name_constraints_are_checked_as_by_the_server(
    ca: Command, tmp_path: Path, permitted: str, subject: str, flags: list[str], is_rejected: bool
) -> None:
    made = constrained(tmp_path, permitted, subject)
    reason = trio.run(load, made.constrained, *flags)
    assert (reason is not None) == is_rejected
    ca.directory = made.plain
    for action in ("validate", "preflight"):
        shown = ca(action, str(made.constrained), *flags, code=1 if is_rejected else 3)
        errors = [line for line in shown.splitlines() if line.startswith("error: ")]
        advice = "" if flags else " (pass --trust-domain if the servers have another trust domain)"
        if reason is None:
            assert errors == []
            assert "warning: name-constraints: " in shown
        else:
            text = reason.partition(f" (issuer chain {made.constrained}")[0]
            assert errors == [f"error: name-constraints: {text}{advice}"]


def test_the_subject_of_the_issuer_names_the_trust_domain(ca: Command, tmp_path: Path) -> None:
    made = constrained(tmp_path, "mesh.example", _MESH)
    assert trio.run(load, made.constrained, "--trust-domain=mesh.example") is None
    ca.directory = made.constrained
    assert "error: " not in ca("validate", code=3)


def test_a_rejected_trust_bundle_does_not_count_as_the_one_in_use(ca: Command, tmp_path: Path) -> None:
    ca("rotate", "--start")
    replace_by_another(ca, tmp_path)
    shown = ca("preflight", str(tmp_path / "other"), code=1)
    assert "error: cut-leaves: " in shown
    assert "which running processes may have rejected" not in shown


def test_an_authority_without_a_record_is_compared_with_the_stored_one(ca: Command, tmp_path: Path) -> None:
    former = tmp_path / "former"
    shutil.copytree(ca.directory, former)
    replace_by_another(ca, tmp_path)
    assert "which running processes may have rejected)" in ca("preflight", str(former), code=1)


def test_a_record_that_cannot_be_read_does_not_count(ca: Command, tmp_path: Path) -> None:
    former, file = tmp_path / "former", ca.directory / ".sentry-trio-rotation.json"
    ca("rotate", "--start")
    shutil.copytree(ca.directory, former)
    replace_by_another(ca, tmp_path)
    file.write_bytes(file.read_bytes().replace(b"-----BEGIN", b"-----BEGAN"))
    assert "which running processes may have rejected)" in ca("preflight", str(former), code=1)


def test_a_record_beside_the_authority_of_another_program_does_not_count(
    ca: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written there, so the record is that of an authority that was moved to the other program."""
    former = tmp_path / "former"
    ca("rotate", "--start")
    shutil.copytree(ca.directory, former)
    replace_by_another(ca, tmp_path)

    async def managed_by(_: Place) -> str:
        return "cert-manager"

    monkeypatch.setattr(places.Place, "managed_by", managed_by)
    assert "which running processes may have rejected)" in ca("preflight", str(former), code=1)
    assert "error" not in ca("preflight", str(tmp_path / "other"))


# --- what cuts clients off


def test_flatten_asks_before_it_cuts_clients_off(ca: Command) -> None:
    ca("rotate", "--start")
    retire(ca.directory)
    contents = ca.contents()
    assert ca.phase() == "retiring"
    shown = ca("flatten", code=1)
    assert "error: cut-" in shown
    assert "confirm with --yes" in shown
    assert ca.contents() == contents
    ca("flatten", "--yes")
    assert [len(read_certificates(ca.contents()[name])) for name in ("ca.crt", "issuer.crt")] == [1, 1]


@pytest.mark.parametrize("with_record", [False, True])
@pytest.mark.parametrize("words", [["show"], ["rotate", "--start"], ["rotate", "--distrust", "--yes"], ["flatten"]])
@pytest.mark.parametrize(
    ("name", "part", "why"),
    [
        ("ca.crt", "trust anchors", "failed to decode trust anchors: no certificates found: it is not PEM text"),
        ("issuer.crt", "issuer chain", "no certificates found: it is not PEM text"),
        ("issuer.key", "issuer key", "key is not PEM encoded: it is not PEM text"),
    ],
)
def test_a_trust_bundle_that_cannot_be_read_is_named(
    ca: Command, words: list[str], name: str, part: str, why: str, with_record: bool
) -> None:
    if with_record:
        ca("rotate", "--start")
    (ca.directory / name).write_text("garbage")
    contents = ca.contents()
    assert ca(*words, code=1) == (
        f"sentry-trio ca {words[0]}: failed to verify CA bundle: {why} ({part} {ca.directory / name}); "
        "put the previous content back, or restore a backup with 'sentry-trio ca restore --yes'\n"
    )
    assert ca.contents() == contents


@pytest.mark.parametrize("words", [["rotate", "--start"], ["rotate", "--cancel"], ["flatten", "--yes"]])
def test_a_trust_bundle_that_running_processes_reject_is_not_renewed(
    ca: Command, tmp_path: Path, words: list[str]
) -> None:
    ca("rotate", "--start")
    replace_by_another(ca, tmp_path)
    contents = ca.contents()
    shown = ca(*words, code=1)
    assert "error: cut-leaves: " in shown
    assert f"nothing was written: running processes reject the stored trust bundle in {ca.directory} for " in shown
    assert ca.contents() == contents
    ca("rotate", "--distrust", "--yes")


def retire(directory: Path) -> None:
    """Takes a renewal that was begun to its phase `retiring`, by the planner."""
    options = parse(["show", "--issuer-credentials", str(directory)], {})
    place = open_directory(directory, options)

    async def take_steps() -> None:
        now = wall_clock()
        while True:
            stored = await place.read()
            policy = replace(policy_of(options, stored), grace=timedelta())
            planned = plan(stored, policy, Situation(now=now))
            if planned.phase is Phase.RETIRING:
                return
            assert not planned.changes or await place.write(planned.changes, stored)
            now += timedelta(days=2)

    trio.run(take_steps)


@pytest.mark.parametrize("damage", [None, b"garbage"])
def test_a_backup_replaces_an_unreadable_bundle_if_confirmed(ca: Command, backup: Backup, damage: bytes | None) -> None:
    contents = ca.contents()
    backup.make()
    if damage is None:
        (ca.directory / "issuer.key").unlink()
    else:
        (ca.directory / "issuer.crt").write_bytes(damage)
    assert "restore it anyway with --yes" in backup.restore(code=1)
    backup.restore("--yes")
    assert ca.contents() == contents


def test_init_names_a_directory_that_cannot_be_made(ca: Command) -> None:
    file = ca.directory / "ca.crt"
    assert f"cannot create directory {file}: File exists" in ca("init", str(file), code=1)


def test_lifetimes_that_leave_no_time_are_refused(ca: Command) -> None:
    assert "--ca-ttl 48h" in ca("rotate", "--start", "--ca-ttl=48h", code=2)


@pytest.mark.parametrize("asked", [*sorted(FORCED, key=str), RenewalRequest.START])
def test_clocks_that_differ_write_nothing(ca: Command, monkeypatch: pytest.MonkeyPatch, asked: RenewalRequest) -> None:
    monkeypatch.setattr(Place, "clock_offset", lambda _: timedelta(hours=3))
    before = ca.contents()
    assert "differ by 10800 s" in ca("rotate", f"--{asked.value}", "--yes", code=1)
    assert ca.contents() == before


@pytest.mark.parametrize("asked", sorted(FORCED, key=str))
def test_a_bundle_that_another_program_keeps_is_not_replaced(
    ca: Command, monkeypatch: pytest.MonkeyPatch, asked: RenewalRequest
) -> None:
    async def managed_by(_: Place) -> str:
        return "cert-manager"

    monkeypatch.setattr(places.Place, "managed_by", managed_by)
    before = ca.contents()
    assert "cert-manager manages the trust bundle" in ca("rotate", f"--{asked.value}", "--yes", code=1)
    assert ca.contents() == before
