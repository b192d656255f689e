"""Lines for one write, and what of them is in the file when the write was cut short. No IO.

What a full disk or a crash leaves is never written over nor taken back, since the file is only appended to. The torn
bytes are ended with a newline, and the next line says in `cut` how many they are and what their hash is.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sentry_trio.audit.chain import Link, encode_members, make_line

if TYPE_CHECKING:
    from _hashlib import HASH

_NEWLINE: Final = b"\n"


class Torn:
    """Bytes that are no whole line. Only their number and their hash are kept.

    Args:
        data: the last of them.
        after: those before.

    Attributes:
        digest: over all of them.
    """

    def __init__(self, data: bytes, after: "Torn | None" = None) -> None:
        self.digest: HASH = hashlib.sha256() if after is None else after.digest.copy()
        self.digest.update(data)
        self._bytes = len(data) + (0 if after is None else len(after))

    def __len__(self) -> int:
        return self._bytes

    @property
    def told(self) -> dict[str, object]:
        """What the line after them says of them."""
        return {"bytes": len(self), "sha256": self.digest.hexdigest()}


@dataclass(frozen=True, slots=True)
class End:
    """How what was written so far ends.

    Attributes:
        link: the last whole line.
        torn: the bytes after it, which are no whole line.
        newline_due: whether the last byte, of the whole line or of the torn one, is not a newline.
    """

    link: Link
    torn: Torn | None = None
    newline_due: bool = False

    def and_torn(self, data: bytes, *, newline_due: bool) -> "End":
        """With more bytes that are no whole line."""
        return End(self.link, Torn(data, self.torn), newline_due)


class Batches:
    """Composes one batch after the other, each told how much of it was written before the next.

    Args:
        end: of what is there.

    Attributes:
        end: the same, with what was written since.
    """

    def __init__(self, end: End) -> None:
        self.end = end
        self._lines: list[tuple[bytes, Link]] = []
        self._newline = b""

    def elsewhere(self) -> None:
        """What follows is written to another file, which is empty: what was torn stays behind."""
        self.end = End(self.end.link)

    def compose(self, members: Sequence[bytes]) -> bytes:
        """The bytes of lines with these members."""
        end = self.end
        self._newline = _NEWLINE if end.newline_due else b""
        self._lines = []
        link, cut = end.link, b""
        if end.torn is not None:
            cut = b"," + encode_members({"cut": Torn(self._newline, end.torn).told})
        for each in members:
            line, link = make_line(each + cut, link)
            cut = b""
            self._lines.append((line, link))
        return self._newline + b"".join(line for line, _ in self._lines)

    def settle(self, taken: int) -> int:
        """So many bytes of the batch were written. Returns how many of its lines are in the file."""
        written = self._newline[:taken]
        left = taken - len(written)
        whole = 0
        end = self.end
        if written:
            end = End(end.link) if end.torn is None else end.and_torn(written, newline_due=False)
        for line, link in self._lines:
            if left < len(line) - 1:
                break
            # All but the newline is enough: the next write begins with that.
            end = End(link, newline_due=left < len(line))
            left -= len(line)
            whole += 1
        if left > 0:
            end = end.and_torn(self._lines[whole][0][:left], newline_due=True)
        self.end, self._lines = end, []
        return whole
