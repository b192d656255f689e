"""Generates sentry_trio/proto from the .proto files, or checks that it has not drifted from them.

python protos/generate.py            writes the package
python protos/generate.py --check    exits 1, with a diff, where the package differs from what would be written
"""

import difflib
import re
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).parent
PACKAGE = PROTOS.parent / "sentry_trio" / "proto"
SOURCE = "dapr/proto/sentry/v1/sentry.proto"


def generate() -> dict[str, str]:
    """Runs protoc with the message, stub and grpclib plugins; returns file names and their text."""
    with tempfile.TemporaryDirectory() as out:
        status = protoc.main(
            [
                "protoc",
                f"-I{PROTOS}",
                f"-I{resources.files('grpc_tools') / '_proto'}",
                f"--plugin=protoc-gen-grpclib_python={Path(sys.executable).parent / 'protoc-gen-grpclib_python'}",
                f"--python_out={out}",
                f"--pyi_out={out}",
                f"--grpclib_python_out={out}",
                SOURCE,
            ]
        )
        if status:
            sys.exit(f"protoc failed on {SOURCE} with status {status}")
        return {path.name: _local_imports(path.read_text()) for path in sorted(Path(out).rglob("*.py*"))}


def _local_imports(text: str) -> str:
    """Makes the grpclib plugin's absolute import of the messages one of this package.

    A top-level `dapr` package must not appear: the Dapr SDK owns that name.
    """
    text = re.sub(
        r"^import dapr\.proto\.sentry\.v1\.sentry_pb2$",
        "from sentry_trio.proto import sentry_pb2",
        text,
        flags=re.MULTILINE,
    )
    return text.replace("dapr.proto.sentry.v1.sentry_pb2.", "sentry_pb2.")


def main(arguments: list[str]) -> int:
    """Writes or, with --check, compares; returns the exit code."""
    fresh = generate()
    if "--check" not in arguments:
        for name, text in fresh.items():
            (PACKAGE / name).write_text(text)
        return 0
    drifted = False
    for name, text in fresh.items():
        path = PACKAGE / name
        present = path.read_text() if path.exists() else ""
        if present != text:
            drifted = True
            sys.stdout.writelines(
                difflib.unified_diff(
                    present.splitlines(keepends=True), text.splitlines(keepends=True), str(path.name), "generated"
                )
            )
    if drifted:
        print("sentry_trio/proto differs from protos/: run `make protos`", file=sys.stderr)
    return int(drifted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
