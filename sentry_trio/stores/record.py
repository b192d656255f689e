"""The commit record: what an unfinished exchange of the three files was about, and what to do about it now.

Pure: bytes in, a decision out.
"""

import enum
import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from sentry_trio.stores.disk import Content

_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class InvalidRecordError(ValueError):
    """Bytes that are not a commit record of this version."""


class MixedSetError(ValueError):
    """Some files are of the new set, others of the old one, and the rest of the new set is no longer at hand."""


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of one file: SHA-256 before (None: no file) and after, in hex."""

    old: _Digest | None
    new: _Digest


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A commit record. It names no paths: those follow from the options of whoever reads it.

    So a record that somebody slips in can move nothing that the store's own files are not named after, and one
    survives its volume being mounted elsewhere.
    """

    anchors: Change
    chain: Change
    key: Change
    version: Literal[1] = 1

    @property
    def changes(self) -> tuple[Change, Change, Change]:
        """The three changes in the order of the files."""
        return self.anchors, self.chain, self.key


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def encode(record: Record) -> bytes:
    """The bytes of a record."""
    return msgspec.json.encode(record)


def decode(data: bytes) -> Record:
    """The record that bytes hold.

    Raises:
        InvalidRecordError: the bytes are not a record.
    """
    try:
        return msgspec.json.decode(data, type=Record)
    except msgspec.DecodeError as error:
        raise InvalidRecordError(str(error)) from error


class _State(enum.Enum):
    DONE = enum.auto()  # the new file stands in its place
    PENDING = enum.auto()  # the old one stands, the new one waits beside it
    STUCK = enum.auto()  # the old one stands, the new one is gone or torn
    FOREIGN = enum.auto()  # neither: somebody wrote it since


@dataclass(frozen=True, slots=True)
class Completion:
    """Which of the three new files have still to be moved into place."""

    pending: tuple[bool, bool, bool]


def decide(
    record: Record, targets: tuple[Content, Content, Content], temporaries: tuple[Content, Content, Content]
) -> Completion | None:
    """What to do about a record that was found.

    Every file can be told apart by its digest. Where each is either new already, or old with the new one waiting
    beside it, the exchange is completed. Where one is neither old nor new, somebody has edited it since the
    crash, and an edit by hand is never overwritten: the record is void and the files count as they stand. The same
    holds when all are old and the new ones are gone. What is left are sets that the crash itself has mixed and that
    can no longer be completed; guessing there could lose a key for good.

    Args:
        record: the record.
        targets: what stands at the three paths; none of them is `Trouble`.
        temporaries: what waits beside them.

    Returns:
        What is left to do, or None for a void record.

    Raises:
        MixedSetError: neither the old set nor the new one nor an edited one.
    """
    first, second, third = (
        _state(change, target, temporary)
        for change, target, temporary in zip(record.changes, targets, temporaries, strict=True)
    )
    states = {first, second, third}
    if states <= {_State.DONE, _State.PENDING}:
        return Completion((first is _State.PENDING, second is _State.PENDING, third is _State.PENDING))
    moved = any(
        state is _State.DONE and change.old != change.new
        for state, change in zip((first, second, third), record.changes, strict=True)
    )
    if moved and states & {_State.PENDING, _State.STUCK}:
        raise MixedSetError
    return None


def _state(change: Change, target: Content, temporary: Content) -> _State:
    stands = digest(target) if isinstance(target, bytes) else None
    if stands == change.new:
        return _State.DONE
    if stands != change.old:
        return _State.FOREIGN
    waits = isinstance(temporary, bytes) and digest(temporary) == change.new
    return _State.PENDING if waits else _State.STUCK
