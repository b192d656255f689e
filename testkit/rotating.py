"""Whole renewals of a certificate authority in files, killed at random: run as a process of its own.

    python -m testkit.rotating DIRECTORY RUNS SEED [keep]

With `keep`, the key of the root is kept: a renewal below it, and then one of the root itself.

Each attempt at a step is a child that SIGKILL ends, for real, before one of its file operations, or that finishes; then
a reader checks what is left. A fork is safe here, and only here: this process has one thread.
"""

import os
import random
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from sentry_trio.ca.bundle import TrustBundle, verify
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.parts import BUNDLE_AND_RENEWAL, ROOT_KEYS, bundle_of
from sentry_trio.ca.paths import find_paths
from sentry_trio.ca.renewal import Plan, Situation, plan
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_root import new_parts
from sentry_trio.errors import Part
from sentry_trio.renewal_status import Phase, Step
from sentry_trio.stores.atomic_files import FileOperations
from sentry_trio.stores.directory import PATIENCE
from sentry_trio.stores.file_transaction import FileTransaction
from sentry_trio.stores.part_store import RENEWAL_NAMES
from testkit.crashing import kill_at
from testkit.stores import NAMES

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
POLICY: Final = RenewalPolicy(
    trust_domain="td",
    namespace="ns",
    key_type=KeyType.ED25519,
    workload_ttl=timedelta(days=1),
    allowed_clock_skew=timedelta(minutes=15),
)
KEEP: Final = replace(POLICY, keeps_root_key=True, root_lifetime=timedelta(days=700))
STEPS: Final = (Step.PUBLISH, Step.NOTE, Step.SWITCH, Step.ERASE)
STEPS_WITH_ROOT_KEY: Final = (Step.RENEW_ISSUER, Step.ERASE, *STEPS)
_MOST_OPERATIONS: Final = 60
_PRIVATE: Final = {
    Phase.STEADY: {Part.KEY},
    Phase.DISTRIBUTING: {Part.KEY, Part.NEXT_KEY},
    Phase.SIGNING: {Part.KEY, Part.PREVIOUS_KEY},
    Phase.RETIRING: {Part.KEY},
}
_KEYS: Final = {Part.KEY, Part.NEXT_KEY, Part.PREVIOUS_KEY, Part.REJECTED_KEY, *ROOT_KEYS}


def transaction(directory: Path, operations: FileOperations | None = None) -> FileTransaction:
    names = {**NAMES, **RENEWAL_NAMES}
    paths = {part: directory / names[part] for part in BUNDLE_AND_RENEWAL}
    return FileTransaction(paths, Part.KEY, operations or FileOperations(), PATIENCE)


def attempt(directory: Path, planned: Plan, stored: Mapping[Part, bytes], point: int) -> bool:
    """Takes a step in a child that is killed before an operation; returns true if it was not."""
    child = os.fork()
    if child == 0:
        expected = {part: stored.get(part) for part in BUNDLE_AND_RENEWAL}
        done = transaction(directory, kill_at(point)).replace(planned.changes, expected=expected)
        os._exit(0 if done else 3)
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status) or os.WTERMSIG(status) == signal.SIGKILL
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status)


def private_parts(phase: Phase, policy: RenewalPolicy, *, is_first_root: bool) -> set[Part]:
    """Returns the private keys that are stored in a phase."""
    if not policy.keeps_root_key:
        return _PRIVATE[phase]
    moving = {Phase.DISTRIBUTING: {Part.NEXT_ROOT_KEY}, Phase.SIGNING: {Part.PREVIOUS_ROOT_KEY}}
    return {*_PRIVATE[phase], Part.ROOT_KEY, *(() if is_first_root else moving.get(phase, ()))}


def check(first: TrustBundle, stored: Mapping[Part, bytes], now: datetime, policy: RenewalPolicy) -> Plan:
    """Clients of all generations verify issued certificates, and no private key exists outside its phase."""
    bundle = verify(bundle_of(stored), now)
    for anchors in (first.anchors, bundle.anchors):
        for each in (first, bundle) if now <= first.not_after else (bundle,):
            find_paths(each.issuer, each.chain[1:], anchors, now)
    planned = plan(stored, policy, Situation(now=now))
    keys = private_parts(planned.phase, policy, is_first_root=bundle.anchors == first.anchors)
    assert _KEYS & stored.keys() == keys, (planned.phase, stored.keys())
    return planned


def renew(directory: Path, chance: random.Random, policy: RenewalPolicy) -> int:
    """One whole renewal; returns how often it was killed."""
    files, now, kills = transaction(directory), START, 0
    own = new_parts(policy, now, None)
    assert files.replace(own, expected={})
    first = verify(bundle_of(own), now)
    steps = STEPS_WITH_ROOT_KEY if policy.keeps_root_key else STEPS
    taken: list[Step] = []
    while tuple(taken) != steps:
        stored = files.read(BUNDLE_AND_RENEWAL)
        planned = check(first, stored, now, policy)
        if planned.step is None:
            assert planned.due is not None
            now = planned.due
        elif attempt(directory, planned, stored, chance.randrange(_MOST_OPERATIONS)):
            taken.append(planned.step)
        else:
            kills += 1
            if files.read(BUNDLE_AND_RENEWAL) != stored:
                taken.append(planned.step)  # it was killed after the commit
    check(first, files.read(BUNDLE_AND_RENEWAL), now, policy)
    assert not [path for path in directory.iterdir() if "sentry-trio-new" in path.name or "commit" in path.name]
    return kills


def main(directory: Path, runs: int, seed: int, policy: RenewalPolicy) -> None:
    chance = random.Random(seed)
    kills = 0
    for number in range(runs):
        here = directory / str(number)
        here.mkdir()
        kills += renew(here, chance, policy)
    print(f"{runs} renewals, killed {kills} times")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), KEEP if "keep" in sys.argv[4:] else POLICY)
