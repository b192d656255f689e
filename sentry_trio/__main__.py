"""`python -m sentry_trio` is `sentry-trio`."""

import sys

from sentry_trio.cli import main

if __name__ == "__main__":
    sys.exit(main())
