"""Fuzzes one target until libFuzzer's limits: `python -m tests.fuzz.one TARGET DIRECTORY [libFuzzer's options]`."""

import random
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sentry_trio", "yaml"]):
    # Whatever imports the package is imported here: modules that are loaded already stay as they are.
    from testkit.ca.mutants import mutate, requests, signed_again
    from testkit.go_modules import UnavailableError
    from testkit.go_x509 import GoX509, go_x509
    from tests.fuzz.targets import TARGETS, inputs

_DER = {"certificate": mutate, "request": signed_again}
"""Targets that Go's reader judges, and how their inputs are changed."""


def main() -> None:
    """Writes the inputs to the directory, where libFuzzer adds its own, and fuzzes."""
    name, directory, *options = sys.argv[1:]
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(inputs(name) + (requests() if name == "request" else [])):
        (path / f"seed-{number:03d}").write_bytes(data)
    with ExitStack() as stack:
        go = _go(stack) if name in _DER else None
        run = TARGETS[name].run
        mutator = {"custom_mutator": partial(_mutated, _DER[name])} if name in _DER else {}
        atheris.Setup([sys.argv[0], directory, *options], lambda data: run(data, go), **mutator)
        atheris.Fuzz()


def _mutated(change: Callable[[bytes, random.Random], bytes], data: bytes, most: int, seed: int) -> bytes:
    """Changes an element of DER and the lengths around it, or any bytes."""
    chance = random.Random(seed)
    if chance.random() < 0.5:
        changed: bytes = atheris.Mutate(data, most)
        return changed
    try:
        return change(data, chance)[:most]
    except (OverflowError, ValueError):
        return data  # an element became longer than its length can express, or it was no request


def _go(stack: ExitStack) -> GoX509 | None:
    """Starts Go's reader of certificates, if there is Go."""
    try:
        return stack.enter_context(go_x509())
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return None


if __name__ == "__main__":
    main()
