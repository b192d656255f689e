"""PEM as Go's encoding/pem reads it, so that a file means the same to both.

Text around blocks is ignored. A block begins at the start of a line. Spaces, tabs and any line length are allowed
within it, and so are headers, which are ignored. A malformed block is skipped in favour of a later good one.
"""

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Container, Iterator
from typing import Final

from sentry_trio.discreet import Discreet

_NEWLINE = ord("\n")
_BEGIN = b"-----BEGIN "
_END = b"\n-----END "
# A text may be all lines or all blocks, thousands of them, so lines are read by expressions and not one by one.
_LABEL = re.compile(rb"([^\n]*)-----[ \t]*\r?\n")
_AFTER_HEADERS = re.compile(rb"\n[^:\n]*(?:\n|\Z)")  # a line without a colon
_AFTER_END_LABEL = re.compile(rb"-----[ \t]*(?:\r?\n|\Z)")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")  # with a length that is a multiple of four


class Block(Discreet, frozen=True):
    """Block, without its BEGIN and END lines.

    Attributes:
        label: the type of the block, e.g. `CERTIFICATE`.
        der: the decoded content.
    """

    UNSHOWN = frozenset({"der"})

    label: str
    der: bytes

    @property
    def shown(self) -> str:
        """The label for messages: one line, of bounded length."""
        return "".join(character if character.isprintable() else "?" for character in self.label[:60])


def first_block(data: bytes) -> Block | None:
    """Returns the first well-formed block, or None if there is none."""
    return next(blocks(data), None)


def blocks(data: bytes) -> Iterator[Block]:
    """Yields all well-formed blocks in their order, in time proportional to the size of the text."""
    position = 0
    while (found := _next_block(data, position)) is not None:
        block, _, position = found
        yield block


def without_blocks(data: bytes, unwanted: Container[bytes]) -> bytes:
    """Returns a text without the blocks of these contents (DER); all other bytes stay."""
    kept, position = [], 0
    while (found := _next_block(data, position)) is not None:
        block, begin, following = found
        kept.append(data[position : begin if block.der in unwanted else following])
        position = following
    return b"".join(kept) + data[position:]


def write_block(label: str, der: bytes) -> bytes:
    """Returns a block as OpenSSL and Go write it: lines of 64 characters, each with a newline."""
    text = b2a_base64(der, newline=False)
    lines = b"\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    name = label.encode()
    return b"-----BEGIN " + name + b"-----\n" + lines + b"\n-----END " + name + b"-----\n"


def _next_block(data: bytes, position: int) -> tuple[Block, int, int] | None:
    """Returns the next well-formed block from `position`, its offset, and the offset behind it.

    The search begins with an END line, and the last BEGIN before it counts. So a BEGIN without END hides nothing.
    """
    while (end := data.find(_END, position)) >= 0:
        start, position = position, end + len(_END)
        begin = data.rfind(_BEGIN, start, end)
        if begin < 0 or (begin > start and data[begin - 1] != _NEWLINE):
            continue
        opened = _LABEL.match(data, begin + len(_BEGIN))
        if opened is None:
            continue
        label, headers = opened[1], opened.end()
        found = _AFTER_HEADERS.search(data, headers - 1)
        body = len(data) if found is None else found.start() + 1
        if body > position or body == len(data):
            # The headers run over the END line. Go stops here, too; continuing would take quadratic time.
            return None
        if (body > headers and body > end) or not data.startswith(label, position):
            continue
        closed = _AFTER_END_LABEL.match(data, position + len(label))
        if closed is None:
            continue
        content = data[body:end].translate(None, b" \t\r\n")
        if len(content) % 4 == 0 and _BASE64.fullmatch(content):
            return Block(label.decode("utf-8", "replace"), a2b_base64(content)), begin, closed.end()
    return None


_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# Between a line break, or another block's end, and the dashes of a block: spaces, tabs, byte order marks.
_BEFORE_BEGIN: Final = re.compile(rb"(^|\n|-----END [^\n-]{1,60}-----)((?:[ \t\r]|\xef\xbb\xbf)*)(?=-----BEGIN )")
_BEFORE_END: Final = re.compile(rb"\n[ \t]+(?=-----END )")
_BASE64_OF_DASHES: Final = (b"LS0tLS1CRUdJTi", b"77u/LS0tLS1CRUdJTi")
# A sequence in DER begins with 0x30, and so its base64 with an M.
_BASE64_OF_DER: Final = re.compile(rb"\s*M[A-Za-z0-9+/=\s]+")
_ENCRYPTED: Final = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


def tidy(text: bytes) -> bytes:
    """Returns PEM text in which each block begins and ends at the start of a line, as Go requires.

    Text that needs no correction is returned unchanged. The time is proportional to its size.
    """
    if b"-----BEGIN " not in text:
        return text
    return _BEFORE_END.sub(b"\n", _BEFORE_BEGIN.sub(_on_a_new_line, text))


def _on_a_new_line(found: re.Match[bytes]) -> bytes:
    before = found[1]
    return before + b"\n" if before.startswith(b"-") else before


def begin_lines(text: bytes) -> list[int]:
    """Returns the numbers of the lines in which a block begins."""
    return [number for number, line in enumerate(text.split(b"\n"), start=1) if line.startswith(b"-----BEGIN ")]


def explain(text: bytes, *, convert: str) -> str:
    """Returns the likely encoding of a text without PEM blocks and how to convert it, without parts of the text.

    Args:
        text: text that may contain a private key.
        convert: the openssl command that converts DER to PEM, e.g. `openssl x509 -inform DER`.
    """
    start = text[:200].lstrip(b" \t\r\n").removeprefix(_BYTE_ORDER_MARK)
    if not start:
        return "it is empty"
    if text.startswith((b"\xff\xfe", b"\xfe\xff")) or text[1::2][:40].count(0) > 10 or text[::2][:40].count(0) > 10:
        return "it is UTF-16 text; convert it with `iconv -f UTF-16 -t UTF-8`"
    if start.startswith(_BASE64_OF_DASHES):
        return "it is base64 of PEM text; decode it once with `base64 -d`"
    if _BASE64_OF_DER.fullmatch(text):
        return f"it is base64 without BEGIN and END lines; convert it with `base64 -d | {convert}`"
    if start[:1] == b"\x30":
        return f"it is DER, not PEM; convert it with `{convert}`"
    if b"-----BEGIN " in start[:20] and b"\\n" in text:
        return "its line breaks are written as \\n; convert it with `printf '%b'`"
    if b"-----BEGIN " in text:
        return "its BEGIN and END lines, or what is between them, are damaged"
    return "it is not PEM text"


def is_encrypted(text: bytes) -> bool:
    """Returns whether a PEM text has an encrypted private key, in either of OpenSSL's forms."""
    return any(mark in text for mark in _ENCRYPTED)
