"""Lists of texts as one flag value: a CSV record, read as Go's encoding/csv does (RFC 4180 and no more)."""

from dataclasses import dataclass

from sentry_trio.settings.scalars import InvalidValueError, encode

_BARE_QUOTE = 'bare " in non-quoted-field'
_STRAY_QUOTE = 'extraneous or missing " in quoted-field'


def parse_list(text: str) -> tuple[str, ...]:
    """Read the first CSV record of `text`; an empty text is an empty list, later records are ignored.

    Raises:
        InvalidValueError: `parse error on line 1, column 2: bare " in non-quoted-field`, `... extraneous or missing "
            in quoted-field`, or `EOF` where there are only line breaks. Columns count bytes from 1.
    """
    if not text:
        return ()
    lines = _lines(encode(text))
    for index, line in enumerate(lines):
        if line.rstrip(b"\n"):
            fields = _Record(lines, start=index, index=index, column=0).fields()
            return tuple(field.decode("utf-8", "surrogateescape") for field in fields)
    raise InvalidValueError("EOF")


def _lines(data: bytes) -> list[bytes]:
    r"""Lines with their line break, which is `\n` for `\r\n` too; a last `\r` is dropped."""
    lines = [line.removesuffix(b"\r") + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1].removesuffix(b"\n")
    return lines


@dataclass(slots=True)
class _Record:
    """A record being read.

    Attributes:
        lines: all lines.
        start: index of the line in which the record starts.
        index: index of the line being read.
        column: how many bytes of that line have been read.
    """

    lines: list[bytes]
    start: int
    index: int
    column: int

    @property
    def line(self) -> bytes:
        return self.lines[self.index]

    def fields(self) -> list[bytes]:
        found: list[bytes] = []
        more = True
        while more:
            field, more = self._quoted() if self.line.startswith(b'"', self.column) else self._plain()
            found.append(field)
        return found

    def _plain(self) -> tuple[bytes, bool]:
        """The field that starts here, and whether another follows."""
        comma = self.line.find(b",", self.column)
        field = self.line[self.column : comma if comma >= 0 else len(self.line)].removesuffix(b"\n")
        quote = field.find(b'"')
        if quote >= 0:
            raise self._fault(self.column + quote, _BARE_QUOTE)
        self.column += len(field) + 1
        return field, comma >= 0

    def _quoted(self) -> tuple[bytes, bool]:
        """As `_plain`, for a field in quotation marks, which may go on over several lines."""
        parts: list[bytes] = []
        self.column += 1
        while True:
            quote = self.line.find(b'"', self.column)
            if quote < 0:
                parts.append(self.line[self.column :])
                self.column = len(self.line)
                self._next_line()
                continue
            parts.append(self.line[self.column : quote])
            self.column = quote + 1
            after = self.line[self.column : self.column + 1]
            if after == b'"':
                parts.append(b'"')
                self.column += 1
            elif after == b",":
                self.column += 1
                return b"".join(parts), True
            elif after in {b"", b"\n"}:
                return b"".join(parts), False
            else:
                raise self._fault(self.column - 1, _STRAY_QUOTE)

    def _next_line(self) -> None:
        if not any(self.lines[self.index + 1 :]):
            raise self._fault(self.column, _STRAY_QUOTE)
        self.index += 1
        self.column = 0

    def _fault(self, column: int, reason: str) -> InvalidValueError:
        place = f"parse error on line {self.index + 1}, column {column + 1}: {reason}"
        return InvalidValueError(place if self.index == self.start else f"record on line {self.start + 1}; {place}")
