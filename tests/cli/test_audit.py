"""`sentry-trio audit verify`: its lines and its exit codes."""

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from sentry_trio.audit.chain import MAX_LINE, START, make_line, read_line
from sentry_trio.cli import main
from testkit.audit_chains import chain, members

LINES = chain()
LAST = read_line(LINES[-1].rstrip(b"\n")).link.hash
OTHER = "ab" * 32
SUMMARY = f"5 lines, seq 1 to 5, from 2026-03-01T12:00:00.000000Z to 2026-03-01T12:00:00.000000Z, last hash {LAST}\n"


class Verify:
    """The command on a file with some content, in this process."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._path = path
        self._capsys = capsys
        self.stderr = ""

    def __call__(self, data: bytes, *flags: str, code: int) -> str:
        self._path.write_bytes(data)
        assert main(["audit", "verify", str(self._path), *flags]) == code
        captured = self._capsys.readouterr()
        self.stderr = captured.err
        return captured.out


@pytest.fixture
def verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    return Verify(tmp_path / "audit.log", capsys)


def test_intact(verify: Verify) -> None:
    assert verify(b"".join(LINES), code=0) == f"intact: {SUMMARY}"
    assert verify.stderr == ""


def test_each_problem_is_one_clear_line(verify: Verify) -> None:
    altered = b"".join(LINES).replace(b'"number":1', b'"number":7')
    reported = verify(altered, code=1).splitlines()
    assert reported[0] == "broken: line 3 was altered: its hash does not match its content"
    assert reported[1].startswith("broken: 4 lines, seq 1 to 5")
    assert len(reported) == 2


def test_at_most_twenty_faults_are_listed(verify: Verify) -> None:
    reported = verify(b"".join(LINES) * 10, code=1).splitlines()
    assert len(reported) == 10
    reported = verify(b"".join(line + line for line in chain(decisions=30)), code=1).splitlines()
    assert reported[20] == "broken: and 12 more"
    assert len(reported) == 22


def test_a_log_without_a_closed_line_is_intact_with_a_note(verify: Verify) -> None:
    assert verify(b"".join(LINES[:-1]), code=0).startswith(
        "note: the log does not end with a 'closed' line: the process is running or was killed, "
        "or lines are missing\nintact:"
    )


def test_hashes_that_were_kept(verify: Verify) -> None:
    whole = b"".join(LINES)
    assert verify(whole, "--expect-last", LAST, "--expect", LAST, code=0) == f"intact: {SUMMARY}"
    assert f"{OTHER} was expected: lines at the end are missing" in verify(whole, f"--expect-last={OTHER}", code=1)
    assert f"broken: no line has the expected hash {OTHER}" in verify(whole, f"--expect={OTHER}", code=1)


def test_among_logs(verify: Verify) -> None:
    log = b'{"level":"info","msg":"hello"}\n'
    reported = verify(log + log.join(LINES), "--among-logs", code=0)
    assert reported == f"note: 5 other lines were ignored\nintact: {SUMMARY}"
    verify(log + log.join(LINES), code=1)


@pytest.mark.parametrize("data", [b"", b"hello\nworld\n", bytes(3 * MAX_LINE)])
def test_other_files_are_not_an_audit_log(verify: Verify, data: bytes) -> None:
    assert verify(data, code=2) == ""
    assert verify.stderr.endswith("audit.log is not an audit log\n")
    assert verify.stderr.startswith("sentry-trio audit: ")


def test_a_log_without_a_whole_line_is_broken(verify: Verify) -> None:
    assert verify(b'{"audit":1,"time":"2026"}\n', code=1).startswith("broken: line 1 is incomplete")


def test_a_later_form_is_not_understood(verify: Verify) -> None:
    later = make_line(members(), START)[0].replace(b'{"audit":1,', b'{"audit":2,')
    verify(b"".join(LINES) + later, code=1)  # its hash is that of another line
    body = later[:-76]
    made = b'%b,"hash":"%b"}\n' % (body, hashlib.sha256(body).hexdigest().encode())
    verify(b"".join(LINES) + made, code=2)
    assert "was written by a later release: verify it with that" in verify.stderr


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(tmp_path / "gone")]) == 2
    assert capsys.readouterr().err.endswith("gone: No such file or directory\n")
    assert main(["audit", "verify", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(": Is a directory\n")


@pytest.mark.parametrize(
    "words", [["audit"], ["audit", "verify"], ["audit", "verify", "x", "--expect", "abc"], ["audit", "forge", "x"]]
)
def test_a_command_line_that_is_not_understood(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "usage: sentry-trio audit" in capsys.readouterr().err


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"".join(LINES))))
    assert main(["audit", "verify", "-"]) == 0
    assert capsys.readouterr().out == f"intact: {SUMMARY}"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_large_log_takes_little_memory(tmp_path: Path) -> None:
    """40 MB, of which one line is half; a process that held it would show."""
    path = tmp_path / "audit.log"
    with path.open("wb") as file:
        file.writelines(chain(decisions=60_000))
        file.write(b"x" * 20_000_000)
    code = (
        "import re, sys; from sentry_trio.cli import main; code = main(sys.argv[1:]); "
        "print(*re.findall(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "audit", "verify", str(path)]
    environ = {"PATH": "/usr/bin"}  # no coverage: that takes memory of its own
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    *reported, peak = done.stdout.splitlines()
    assert reported[-1].startswith("intact: 60002 lines")
    assert int(peak) < 40 * 1024
