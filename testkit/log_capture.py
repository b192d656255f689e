"""Captures the log lines of a piece of code, and restores logging."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_DAPR = logging.getLogger("dapr")

Line = dict[str, Any]
"""`event`, `log_level`, `scope`, and the fields by their names."""


class _Listener(logging.Handler):
    def __init__(self, hear: Callable[[Line], None]) -> None:
        super().__init__()
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        line: Line = {"event": record.getMessage(), "log_level": record.levelname.lower(), "scope": record.name}
        if record.exc_info:
            line["exc_info"] = record.exc_info[1]
        self._hear({**line, **record.__dict__["fields"]})


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Changes of the block to logging end with it."""
    handlers, level, propagate = list(_DAPR.handlers), _DAPR.level, _DAPR.propagate
    try:
        yield
    finally:
        _DAPR.handlers[:], _DAPR.propagate = handlers, propagate
        _DAPR.setLevel(level)


@contextmanager
def hear_logs(hear: Callable[[Line], None]) -> Iterator[None]:
    """Hands on each line that is logged in the block, of any level, as it is logged; and to no one else."""
    with logging_as_before():
        _DAPR.handlers[:], _DAPR.propagate = [_Listener(hear)], False
        _DAPR.setLevel(logging.DEBUG)
        yield


@contextmanager
def capture_logs() -> Iterator[list[Line]]:
    """Keeps the lines that are logged in the block, of any level."""
    lines: list[Line] = []
    with hear_logs(lines.append):
        yield lines
