"""A power cut, simulated: what was not flushed survives or not, in any combination, and a whole set is left.

A file's content that was not flushed is lost (the file is empty); a change to a directory that was not flushed may be
on the medium or not, independently of all others. Real file systems are kinder.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sentry_trio.ca.bundle import StoredBundle
from testkit.crashing import NEW, NEXT, OLD, ObservedFiles, paths, read, transaction, write


@dataclass
class Inode:
    cached: bytes = b""
    durable: bytes = b""


@dataclass
class Medium:
    """Content of the medium that is certain, and changes of names that are possible."""

    names: dict[Path, Inode]
    open: dict[int, Inode] = field(default_factory=dict)
    loose: list[tuple[str, tuple[Path, ...], Inode | None]] = field(default_factory=list)
    cached: dict[Path, Inode] = field(default_factory=dict)

    def apply(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        match name, arguments:
            case "create", (path,):
                inode = self.open[result] = self.cached[path] = Inode()
                self.loose.append((name, (path,), inode))
            case "write", (descriptor, data):
                self.open[descriptor].cached += data
            case "sync", (descriptor,):
                self.open[descriptor].durable = self.open[descriptor].cached
            case "rename", (source, target):
                self.cached[target] = self.cached.pop(source)
                self.loose.append((name, (source, target), self.cached[target]))
            case "unlink", (path,) if path in self.cached:
                del self.cached[path]
                self.loose.append((name, (path,), None))
            case "sync_directory", (directory,):
                flushed = [change for change in self.loose if change[1][0].parent == directory]
                self.loose = [change for change in self.loose if change[1][0].parent != directory]
                self.names = changed(self.names, flushed)

    def after_a_cut(self) -> Iterator[dict[Path, bytes]]:
        for size in range(len(self.loose) + 1):
            for survivors in itertools.combinations(self.loose, size):
                names = changed(self.names, survivors)
                yield {path: inode.durable for path, inode in names.items()}


def changed(names: dict[Path, Inode], changes: Any) -> dict[Path, Inode]:
    names = dict(names)
    for name, affected, inode in changes:
        if name == "create":
            names[affected[0]] = inode
        elif name == "rename":
            names.pop(affected[0], None)
            names[affected[1]] = inode
        else:
            names.pop(affected[0], None)
    return names


State = tuple[tuple[Path, bytes], ...]


def states_after_cuts(directory: Path, sets: list[StoredBundle | None]) -> Iterator[tuple[int, State]]:
    """Save the sets one after the other, and yield everything that a power cut could leave, at whichever moment.

    With each state comes the number of the save that was cut; what it may leave is set number `n` or `n + 1`.
    """
    first, *others = sets
    if first is not None:
        write(transaction(paths(directory)), first)
    start = {path: Inode(path.read_bytes(), path.read_bytes()) for path in paths(directory) if path.exists()}
    medium = Medium(names=start, cached=dict(start))
    states: set[State] = set()

    def record(name: str, arguments: tuple[Any, ...], result: Any) -> None:
        medium.apply(name, arguments, result)
        states.update(tuple(sorted(state.items())) for state in medium.after_a_cut())

    for number, bundle in enumerate(others):
        assert bundle is not None
        states.clear()
        write(transaction(paths(directory), ObservedFiles(after=record)), bundle)
        yield from ((number, state) for state in states)


@pytest.mark.parametrize("sets", [[None, NEW, NEXT], [OLD, NEW, NEXT]], ids=["first save", "replacing save"])
def test_every_power_cut_leaves_a_whole_set(tmp_path: Path, sets: list[StoredBundle | None]) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    outcomes = set()
    for count, (number, state) in enumerate(states_after_cuts(saved, sets)):
        here = tmp_path / str(count)
        here.mkdir()
        files = transaction(paths(here))
        for path, content in state:
            (here / path.relative_to(saved)).write_bytes(content)
        found = read(files)
        assert found in sets[number : number + 2], state
        assert read(files) == found
        outcomes.add((number, found))
    assert outcomes == {(number, found) for number in (0, 1) for found in sets[number : number + 2]}
