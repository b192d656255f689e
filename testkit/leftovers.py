"""Finds leftovers of a piece of code, wherever it is cancelled, and processes that a test has left."""

import ctypes
import os
import select
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trio
from trio_util import wait_any


@dataclass(frozen=True)
class Held:
    """Resources of this process: descriptors, Trio tasks, threads at work (Trio keeps idle ones), native watchers."""

    descriptors: frozenset[tuple[str, str]]
    tasks: int
    threads: float
    watchers: int

    @classmethod
    def now(cls) -> "Held":
        return cls(
            frozenset(_descriptors()),
            trio.lowlevel.current_statistics().tasks_living,
            trio.to_thread.current_default_thread_limiter().borrowed_tokens,
            sum(1 for name in _thread_names() if name.startswith("notify")),
        )

    def beyond(self, before: "Held") -> list[str]:
        """Returns resources that are held now and were not before; those of earlier tests may have ended."""
        more = [f"descriptor {number} of {target}" for number, target in self.descriptors - before.descriptors]
        counts = [(name, getattr(self, name), getattr(before, name)) for name in ("tasks", "threads", "watchers")]
        return more + [f"{now} {name} instead of {then}" for name, now, then in counts if now > then]


def _descriptors() -> Iterator[tuple[str, str]]:
    for entry in Path("/proc/self/fd").iterdir():
        try:
            yield entry.name, str(entry.readlink())
        except FileNotFoundError:
            continue  # the one that lists them


def _thread_names() -> Iterator[str]:
    for entry in Path("/proc/self/task").iterdir():
        try:
            yield (entry / "comm").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Everything that the block began has ended after it; an abandoned reading thread may take a moment more."""
    before = Held.now()
    yield
    for _ in range(1000):
        if not (left := Held.now().beyond(before)):
            return
        await trio.sleep(0.005)  # between two looks
    assert not left, left


_SET_CHILD_SUBREAPER = 36  # prctl(2)
_PATIENCE = 10.0  # seconds for a process whose parent was killed

LASTING: set[int] = set()
"""Process IDs that `no_processes_left` ignores: a test may restart a program of a wider fixture."""


def adopt_orphans() -> None:
    """Makes this process the parent of processes whose parent ends, so that they are found. Does so on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children() -> frozenset[int]:
    """Process IDs of the children of all threads."""
    found: list[str] = []
    for each in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            found += each.read_text().split()
    return frozenset(map(int, found))


@contextmanager
def no_processes_left() -> Iterator[None]:
    """Kills processes that the block started and left running, as they might fail other tests, and reports them."""
    before = _children()
    yield
    late = [command for pid in _children() - before - LASTING if (command := _end(pid)) is not None]
    assert not late, f"left running: {late}"


def _end(pid: int) -> str | None:
    """Waits for the end of a child. If that is late, kills it and returns its command."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
        descriptor = os.pidfd_open(pid)
    except (FileNotFoundError, ProcessLookupError):  # reaped meanwhile
        return None
    ending = select.poll()
    ending.register(descriptor, select.POLLIN)
    is_late = not ending.poll(_PATIENCE * 1000)
    os.close(descriptor)
    if is_late:
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):  # reaped meanwhile
        os.waitpid(pid, 0)
    return command if is_late else None


class Cut(trio.abc.Instrument):
    """Cancels a function's scope after so many steps of any task except the current one.

    Args:
        steps: 0 is before the first.

    Attributes:
        made: whether so many steps were taken.
    """

    def __init__(self, steps: int) -> None:
        self.made = False
        self._left = steps
        self._scope = trio.CancelScope()
        self._aside = {trio.lowlevel.current_task(), trio.lowlevel.current_root_task()}

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task not in self._aside:
            self._left -= 1
            self._cut()

    def _cut(self) -> None:
        if self._left <= 0:
            self.made = True
            self._scope.cancel()

    async def run(
        self,
        function: Callable[[], Awaitable[object]],
        *,
        patience: float = 60.0,
        begun: trio.Event | None = None,
    ) -> None:
        """Runs the function until it is cut, or ends, or too few steps were taken for too many seconds.

        Args:
            function: to run.
            patience: seconds.
            begun: from when they count: a slow machine takes longer until then.
        """
        ended = trio.Event()

        async def in_scope() -> None:
            with self._scope:
                await function()
            ended.set()

        async with trio.open_nursery() as nursery:
            self._cut()
            nursery.start_soon(in_scope)
            trio.lowlevel.add_instrument(self)
            try:
                if begun is not None:
                    await wait_any(ended.wait, begun.wait)
                with trio.move_on_after(patience):
                    await ended.wait()
            finally:
                trio.lowlevel.remove_instrument(self)
                self._scope.cancel()
