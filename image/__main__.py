"""`python -m image`: see the package."""

import argparse
import sys
from pathlib import Path

from image.errors import ImageError
from image.packages import install
from image.tree import assemble


def main() -> int:
    """Does one of the two steps; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m image", description="Make the container image's file system.")
    steps = parser.add_subparsers(dest="step", required=True)
    packages = steps.add_parser("packages", help="install what requirements.txt names")
    packages.add_argument("directory", type=Path, help="where to; it must not be there yet")
    tree = steps.add_parser("tree", help="assemble the tree")
    tree.add_argument("packages", type=Path, help="what the first step has made")
    tree.add_argument("directory", type=Path, help="where to; it must not be there yet")
    asked = parser.parse_args()
    if asked.directory.exists():
        return _failed(f"{asked.directory} is there already: remove it, or name another directory")
    try:
        if asked.step == "packages":
            install(asked.directory)
        else:
            assemble(asked.packages, asked.directory)
    except ImageError as error:
        return _failed(str(error))
    return 0


def _failed(why: str) -> int:
    print(f"image: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
