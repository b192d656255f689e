"""Journal of a file transaction, and the recovery of an unfinished one.

Pure: bytes in, a decision out.
"""

import enum
import hashlib
from collections.abc import Container, Mapping
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from sentry_trio.errors import Part
from sentry_trio.stores.atomic_files import Content

_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_VERSION: Final = "version"


class InvalidJournalError(ValueError):
    """Bytes that are not a journal of this version."""


class MixedSetError(ValueError):
    """Some files are of the new set, others of the old one, and the rest of the new set is no longer at hand."""


class FileChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Change of one file: its SHA-256 before and after, in hex; None for no file."""

    old: _Digest | None
    new: _Digest | None


Journal: TypeAlias = Mapping[Part, FileChange]
"""Changes of the files that a transaction replaces.

It names no paths: those follow from the options of the process that reads it. So a planted journal can
move nothing but the store's own files, and one survives its volume being mounted elsewhere.
"""


def digest(content: Content) -> str | None:
    """Returns the SHA-256 in hex; None if there is no content of a file."""
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else None


def encode(journal: Journal) -> bytes:
    """Returns the journal as JSON: `{"anchors": {"old": ..., "new": ...}, ..., "version": 1}`."""
    return msgspec.json.encode({**{part.name.lower(): change for part, change in journal.items()}, _VERSION: 1})


def decode(data: bytes, known: Container[Part]) -> Journal:
    """Parses a journal.

    Args:
        data: the content of its file.
        known: the parts of the store.

    Raises:
        InvalidJournalError: the bytes are not a journal of this store.
    """
    try:
        fields = msgspec.json.decode(data, type=dict[str, FileChange | Literal[1]])
        if fields.pop(_VERSION, 1) != 1:
            raise InvalidJournalError(f"{_VERSION} is not a number")
        journal = {Part[name.upper()]: msgspec.convert(change, FileChange) for name, change in fields.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
        raise InvalidJournalError(str(error)) from error
    if foreign := [part.value for part in journal if part not in known]:
        raise InvalidJournalError(f"it names {', '.join(foreign)}, which are stored elsewhere")
    return journal


class _State(enum.Enum):
    DONE = enum.auto()  # the file is the new one
    PENDING = enum.auto()  # the file is the old one, and the new one is at hand
    STUCK = enum.auto()  # the file is the old one, and the new one is gone or torn
    FOREIGN = enum.auto()  # neither: it was written since


def decide(
    journal: Journal, files: Mapping[Part, Content], temporaries: Mapping[Part, Content]
) -> frozenset[Part] | None:
    """Decides on the recovery for a journal that was found.

    The digests distinguish the files. If each is either the new one already, or the old one with the new one at hand,
    the transaction is completed. If one is neither, it was edited after the crash, and an edit by hand is
    never overwritten: the journal is void and the files count as they are. The same holds if all are old and the new
    ones are gone. The other sets are mixed by the crash and cannot be completed any more;
    guessing there could lose a key for good.

    Args:
        journal: the journal.
        files: content of the journal's files; none is `Unreadable`.
        temporaries: content of the new files beside them.

    Returns:
        The parts whose files have still to be replaced, or None for a void journal.

    Raises:
        MixedSetError: neither the old set nor the new one nor an edited one.
    """
    states = {part: _state(change, files[part], temporaries[part]) for part, change in journal.items()}
    found = set(states.values())
    if found <= {_State.DONE, _State.PENDING}:
        return frozenset(part for part, state in states.items() if state is _State.PENDING)
    moved = any(state is _State.DONE and journal[part].old != journal[part].new for part, state in states.items())
    if moved and found & {_State.PENDING, _State.STUCK}:
        raise MixedSetError
    return None


def _state(change: FileChange, file: Content, temporary: Content) -> _State:
    present = digest(file)
    if present == change.new:
        return _State.DONE
    if present != change.old:
        return _State.FOREIGN
    if change.new is None:
        return _State.PENDING
    return _State.PENDING if digest(temporary) == change.new else _State.STUCK
