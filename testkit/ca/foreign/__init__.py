"""Programs that made the files in `testkit/ca/data/foreign/`, and their reader.

Each file holds what one tool made: PEM blocks, each after a line with the name of the case. The private keys protect
nothing. A tool is run again only to add cases; all are then new, because keys and times are:

    python -m testkit.ca.foreign.with_openssl        # OpenSSL 3.0; also makes root.crt and the keys, if there are none
    python -m testkit.ca.foreign.with_keytool        # Java 17
    cd testkit/ca/foreign/node && npm ci && node make.mjs
    cd testkit/ca/foreign/go && go run .             # crypto/x509 and step's x509util

Names of cases that begin with `issuer` are certificates of the key `issuer.key`, signed by `root.key`; the others are
self-signed unless their name ends in `(leaf)`.
"""

import re
from functools import cache
from pathlib import Path

from sentry_trio.ca.pem import blocks

DATA = Path(__file__).parents[1] / "data" / "foreign"
_CASE = re.compile(
    r"^# (.+)\n(-----BEGIN (CERTIFICATE|CERTIFICATE REQUEST)-----\n[^-]+-----END \3-----\n)", re.MULTILINE
)


@cache
def corpus(label: str) -> dict[str, bytes]:
    """Returns the DER of all certificates or requests, by `tool: case`."""
    found = {}
    for path in sorted(DATA.glob("*.pem")):
        for name, pem, kind in _CASE.findall(path.read_text()):
            if kind == label:
                (block,) = blocks(pem.encode())
                key = f"{path.stem}: {name}"
                assert key not in found, key
                found[key] = block.der
    return found


def write(tool: str, cases: dict[str, str]) -> None:
    """Writes the file of a tool.

    Args:
        tool: the file's name without its ending.
        cases: PEM by the name of the case.
    """
    text = "".join(f"# {name}\n{pem.strip()}\n" for name, pem in cases.items())
    (DATA / f"{tool}.pem").write_text(text)
