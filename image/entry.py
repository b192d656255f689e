#!/usr/bin/python3 -IS
"""`/sentry`: `sentry-trio`, as the image's only program.

Isolated (-I): nothing in the environment or in the working directory changes what Python runs. Without `site` (-S),
which would look for packages where this image has none.
"""

import os
import sys
from signal import SIGTERM, signal

if os.getpid() == 1:
    # A signal without a handler is not delivered to process 1: until sentry_trio is imported it would be lost, and the
    # pod be killed much later. So it does what it does to any other process, whose exit code is 143 to a shell.
    signal(SIGTERM, lambda *_: os._exit(128 + SIGTERM))

sys.path.append("/usr/lib/sentry-trio")

from sentry_trio.cli import main  # found only now

sys.exit(main())
