"""The commands of README and docs/ do what their pages describe: each is run, or listed with the reason.

Those that need a cluster are run in tests/cluster/test_doc_commands.py.
"""

import importlib.util
import re
from pathlib import Path
from typing import Final

import pytest
import trustme

from testkit import doc_session
from testkit.command_line import run_command
from testkit.doc_pages import LANGUAGES, PAGES, Block, blocks, commands, indented, shell

pytestmark = pytest.mark.uncovered

# Blocks that no test runs, by how they begin.
NOT_RUN: Final = {
    ("docs/image.md", "make image-tree && tar"): "makes the image for a minute; tests/image makes and runs it",
    ("docs/image.md", "sudo install"): "needs a container engine and the image",
    ("docs/image.md", "docker run"): "needs a container engine and the image",
    ("docs/kubernetes.md", "kubectl -n dapr-system exec"): "needs a kubelet that runs the pod",
}
# Pages whose blocks need a cluster, wholly or in part.
IN_CLUSTER: Final = re.compile(r"^(helm|kubectl) ")

_AUDITED: Final = """mount -t tmpfs none /var/log; mkdir /var/log/sentry
make run ARGS="--audit-log=/var/log/sentry/audit.log"
sentry-trio request --id cart --out certs
# What a container writes to its standard output.
serve pod sentry-trio --mode=standalone --issuer-credentials=.sentry --audit-log=stdout --port=50002 \\
  --listen-address=127.0.0.1 --healthz-port=8081 --enable-metrics=false
sentry-trio request --id cart --address 127.0.0.1:50002 --out certs
kubectl() { kill "$served"; wait "$served" || true; cat pod.log; }
"""
# The issuer that the page has by its name and port; HTTPS is answered on the port of OIDC.
_DISCOVERY: Final = """make run ARGS="--jwt-enabled --jwt-signing-algorithm=ES256 --oidc-enabled \\
  --jwt-issuer=https://issuer.example --oidc-server-tls-cert-file=$PWD/tls.crt \\
  --oidc-server-tls-key-file=$PWD/tls.key"
echo 'connect-to = "issuer.example:443:127.0.0.1:9080"' > .curlrc
echo 'fail' >> .curlrc
"""
_TWO_AUTHORITIES: Final = """echo '127.0.0.2 other.example' > hosts; mount --bind hosts /etc/hosts
mkdir other-ca
serve other sentry-trio --mode=standalone --issuer-credentials=other-ca --listen-address=127.0.0.2 \\
  --healthz-port=8081 --enable-metrics=false --jwt-enabled --jwt-signing-algorithm=ES256
cat > configuration.yaml << 'END'
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: daprsystem}
spec: {mtls: {tokenValidators: [{name: jwks, options: {source: other-ca/jwks.json}}]}}
END
cp other-ca/ca.crt other-ca.crt
sed -i "s#other-ca/#$PWD/other-ca/#" configuration.yaml
make run ARGS="--config=configuration.yaml"
"""
# What is there before the first command of a page.
_BEFORE: Final = {
    "docs/audit-log.md": _AUDITED,
    "docs/backup.md": "make run",
    "docs/jwks-validator.md": _TWO_AUTHORITIES,
    "docs/jwt.md": 'make run ARGS="--jwt-enabled --jwt-signing-algorithm=ES256"',
    "docs/oidc.md": _DISCOVERY,
    "docs/restart-and-shutdown.md": "make run",
    "docs/status.md": "make run",
    "docs/troubleshooting.md": "make run",
}
_AFTER: Final = {
    "README.md": "test -s certs/tls.key; test -s .sentry/issuer.key",
    "docs/jwt.md": "test -s certs/jwt.txt; test -s certs/jwt-1.txt",
    "docs/jwks-validator.md": "openssl verify -CAfile .sentry/ca.crt -untrusted certs/tls.crt certs/tls.crt",
}
_TRUST_BUNDLE: Final = "docs/trust-bundle.md"


def is_run(block: Block) -> bool:
    """False if the block is in the list of those that no test runs."""
    return not any(block.page == page and block.first.startswith(first) for page, first in NOT_RUN)


def _local(name: str) -> list[Block]:
    """The blocks of a page that need no cluster."""
    return [block for block in shell(name) if is_run(block) and (name in _BEFORE or not IN_CLUSTER.match(block.first))]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty directory, with the pair of files that an OIDC server needs; not on a machine without namespaces."""
    if reason := doc_session.reason_against_namespaces():
        pytest.skip(reason)
    return tmp_path


@pytest.mark.parametrize("name", [name for name in sorted(PAGES) if _local(name) and name != _TRUST_BUNDLE])
def test_commands_have_the_documented_result(place: Path, name: str) -> None:
    authority = trustme.CA()
    pair = authority.issue_cert("issuer.example")
    authority.cert_pem.write_to_path(str(place / "ca.pem"))
    pair.private_key_pem.write_to_path(str(place / "tls.key"))
    pair.cert_chain_pems[0].write_to_path(str(place / "tls.crt"))
    steps: list[Block | str] = [_BEFORE.get(name, ""), *_local(name), _AFTER.get(name, "")]
    doc_session.run(place, steps, namespaces=True, environ={})


def test_the_trust_bundle_is_replaced_by_the_commands_of_its_page(place: Path) -> None:
    """Only the commands that replace files overwrite them, even if pasted twice or in the wrong order."""
    made, anchors, issuer, done = shell(_TRUST_BUNDLE)
    unchanged = "if diff -r . ../before | grep -v '^Only in .: new$'; then exit 1; fi"
    steps: list[Block | str] = [
        "make run; cp -r .sentry before; cd .sentry",
        made,
        unchanged,
        "set +e",
        made,
        "failed=$?; set -e; [ $failed != 0 ]",
        unchanged,
        "openssl verify -CAfile new/ca.crt new/issuer.crt",
        "cp new/ca.crt ../new-ca.crt",
        anchors,
        issuer,
        "openssl verify -CAfile ca.crt new/issuer.crt",
        # By the next run, as soon as it serves.
        "until (cd ..; sentry-trio request --id a --trust-anchors new-ca.crt --out certs); do true; done",
        "openssl verify -CAfile new/ca.crt -untrusted ../certs/tls.crt ../certs/tls.crt",
        done,
        "cmp ca.crt new/ca.crt",
    ]
    doc_session.run(place, steps, namespaces=True, environ={})


# --- the pages themselves


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_block_has_a_language(name: str) -> None:
    """So that a command is in a block for a shell, which is run."""
    assert {block.language for block in blocks(name)} <= LANGUAGES
    assert indented(name) == []


def test_blocks_that_are_not_run_are_on_a_page() -> None:
    first = {(name, block.first) for name in PAGES for block in shell(name)}
    for page, beginning in NOT_RUN:
        assert any(page == name and each.startswith(beginning) for name, each in first), (page, beginning)
    assert len(first) > 20


def _every(tool: str) -> list[str]:
    return sorted({command for name in PAGES for command in commands(name, tool)})


@pytest.mark.parametrize("command", _every("make"))
def test_targets_of_make_exist(command: str) -> None:
    _, target, *_ = command.split()
    makefile = (PAGES["README.md"].parent / "Makefile").read_text()
    assert re.search(rf"^{re.escape(target)}:.*## ", makefile, re.MULTILINE)


@pytest.mark.parametrize("command", _every("sentry-trio"))
def test_subcommands_and_their_flags_exist(command: str) -> None:
    words = command.split()[1:]
    subcommand = [word for word in words[:2] if re.fullmatch(r"[a-z]+", word)]
    done = run_command(*subcommand, "--help")
    assert done.returncode == 0
    for flag in re.findall(r"(?<!\S)--[a-z-]+", command):
        assert flag in done.stdout


@pytest.mark.parametrize("command", _every("python"))
def test_modules_of_python_exist(command: str) -> None:
    assert importlib.util.find_spec(command.split()[2]) is not None
