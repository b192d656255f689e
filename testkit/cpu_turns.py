"""`python -m testkit.cpu_turns`: sentry-trio, with the turns of its event loop measured in CPU time of their thread.

Other programs of a busy machine lengthen a turn, but not its CPU time.
"""

import sys
import time
from collections.abc import Callable
from unittest.mock import patch

from sentry_trio.cli import main
from sentry_trio.telemetry.pauses import EventLoopMonitor

_with_clock = EventLoopMonitor.__init__


def _with_cpu_clock(monitor: EventLoopMonitor, elapsed: Callable[[], float]) -> None:
    _with_clock(monitor, time.thread_time)


if __name__ == "__main__":
    with patch.object(EventLoopMonitor, "__init__", _with_cpu_clock):
        sys.exit(main())
