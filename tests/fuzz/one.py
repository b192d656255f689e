"""Fuzzes one target until libFuzzer's limits: `python -m tests.fuzz.one TARGET DIRECTORY [libFuzzer's options]`."""

import random
import sys
from contextlib import ExitStack
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sentry_trio", "yaml"]):
    # Whatever imports the package is imported here: modules that are loaded already stay as they are.
    from tests.ca.mutants import mutate
    from tests.fuzz.targets import TARGETS, inputs
    from tests.go_modules import UnavailableError
    from tests.go_x509 import GoX509, go_x509


def main() -> None:
    """Writes the inputs to the directory, where libFuzzer adds its own, and fuzzes."""
    name, directory, *options = sys.argv[1:]
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(inputs(name)):
        (path / f"seed-{number:03d}").write_bytes(data)
    with ExitStack() as stack:
        go = _go(stack) if name in ("certificate", "request") else None
        run = TARGETS[name].run
        mutator = {"custom_mutator": _mutated} if name == "certificate" else {}
        atheris.Setup([sys.argv[0], directory, *options], lambda data: run(data, go), **mutator)
        atheris.Fuzz()


def _mutated(data: bytes, most: int, seed: int) -> bytes:
    """Changes an element of DER and the lengths around it, or any bytes."""
    chance = random.Random(seed)
    if chance.random() < 0.5:
        changed: bytes = atheris.Mutate(data, most)
        return changed
    try:
        return mutate(data, chance)[:most]
    except OverflowError:
        return data  # an element became longer than its length can say


def _go(stack: ExitStack) -> GoX509 | None:
    """Starts Go's reader of certificates, if there is Go."""
    try:
        return stack.enter_context(go_x509())
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return None


if __name__ == "__main__":
    main()
