"""PEM as Go's encoding/pem reads it, so that a file means the same to both.

Text around blocks is passed over; a block begins at the start of a line; spaces, tabs and any line length are allowed
within it, and so are headers, which are not looked at; a malformed block is passed over in favour of a later good one.
"""

import dataclasses
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator

_BEGIN = b"-----BEGIN "
_END = b"\n-----END "
_DASHES = b"-----"
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")  # with a length that is a multiple of four


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """What stands between a BEGIN and an END line.

    Attributes:
        label: the type of the block, e.g. `CERTIFICATE`.
        der: the decoded content.
    """

    label: str
    der: bytes = dataclasses.field(repr=False)

    @property
    def shown(self) -> str:
        """The label as it may stand in a message: one line, of bounded length."""
        return "".join(character if character.isprintable() else "?" for character in self.label[:60])


def first_block(data: bytes) -> Block | None:
    """The first well-formed block, or None when there is none."""
    return next(blocks(data), None)


def blocks(data: bytes) -> Iterator[Block]:
    """All well-formed blocks in their order. Takes time in proportion to the data, whatever is in it."""
    position = 0
    while (found := _next_block(data, position)) is not None:
        block, position = found
        yield block


def write_block(label: str, der: bytes) -> bytes:
    """Returns a block as OpenSSL and Go write it: lines of 64 characters, each with a newline."""
    text = b2a_base64(der, newline=False)
    lines = b"\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    name = label.encode()
    return b"-----BEGIN " + name + b"-----\n" + lines + b"\n-----END " + name + b"-----\n"


def _next_block(data: bytes, position: int) -> tuple[Block, int] | None:
    """The next well-formed block from `position`, and where to go on after it.

    An END line is looked for first, and the last BEGIN before it is taken: so a BEGIN without END hides nothing.
    """
    while (end := data.find(_END, position)) >= 0:
        start, position = position, end + len(_END)
        begin = data.rfind(_BEGIN, start, end)
        if begin < 0 or (begin > start and data[begin - 1] != ord("\n")):
            continue
        label, body = _line(data, begin + len(_BEGIN))
        if not label.endswith(_DASHES):
            continue
        label = label.removesuffix(_DASHES)
        body, headers = _skip_headers(data, body)
        if body > position or body == len(data):
            # The headers run over the END line. Go gives up here too; going on would take quadratic time.
            return None
        if headers and body > end:
            continue
        ending, following = _line(data, position)
        if ending != label + _DASHES:
            continue
        content = data[body:end].translate(None, b" \t\r\n")
        if len(content) % 4 == 0 and _BASE64.fullmatch(content):
            return Block(label.decode("utf-8", "replace"), a2b_base64(content)), following
    return None


def _skip_headers(data: bytes, position: int) -> tuple[int, bool]:
    """Where the lines with a colon end, and whether there were any."""
    start = position
    while position < len(data):
        line, following = _line(data, position)
        if b":" not in line:
            break
        position = following
    return position, position > start


def _line(data: bytes, position: int) -> tuple[bytes, int]:
    """The line that begins at `position`, without trailing whitespace, and where the next one begins."""
    newline = data.find(b"\n", position)
    if newline < 0:
        return data[position:].rstrip(b" \t"), len(data)
    line = data[position:newline]
    return line.removesuffix(b"\r").rstrip(b" \t"), newline + 1
