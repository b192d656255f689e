"""A save that is killed between any two file operations leaves the old set or the new one, whole."""

import subprocess
import sys
from pathlib import Path

import pytest

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.stores.directory import DirectoryStore
from testkit.crashing import NEW, NEXT, OLD, paths
from testkit.stores import by_part, load, save

ROOT = Path(__file__).parents[2]


def crash_everywhere(directory: Path, before: str) -> list[Path]:
    """The directories that killed saves have left, in the order of the crash points; in the last one the save ended."""
    subprocess.run([sys.executable, "-m", "testkit.crashing", str(directory), before], cwd=ROOT, check=True)
    return sorted(directory.iterdir(), key=lambda path: int(path.name))


@pytest.mark.parametrize(("before", "old"), [("none", None), ("old", OLD)])
async def test_each_crash_leaves_a_whole_set(tmp_path: Path, before: str, old: StoredBundle | None) -> None:
    left = crash_everywhere(tmp_path, before)
    assert len(left) > 20

    seen = []
    for directory in left:
        store = DirectoryStore(by_part(paths(directory)))
        found = await load(store)
        assert found in (old, NEW), directory
        assert await load(store) == found, "the first load changed the set"
        seen.append(found)
        files = sorted(path.name for path in directory.rglob("*") if path.is_file())
        assert files == ([] if found is None else ["ca.crt", "issuer.crt", "issuer.key"]), "something was left behind"
        await save(store, NEXT)
        assert await load(store) == NEXT

    # Both outcomes occur, and there is one point of no return.
    commit = seen.index(NEW)
    assert 0 < commit < len(left) - 1
    assert seen == [old] * commit + [NEW] * (len(left) - commit)


async def test_a_save_directly_after_a_crash_needs_no_load(tmp_path: Path) -> None:
    for directory in crash_everywhere(tmp_path, "old"):
        store = DirectoryStore(by_part(paths(directory)))
        await save(store, NEXT)
        assert await load(store) == NEXT
