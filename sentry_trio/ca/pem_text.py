"""Corrections of PEM text, and detection of other encodings.

Go's encoding/pem silently skips a block that does not begin at the start of a line: behind a byte order mark, behind
spaces, or behind another block whose last newline is missing. The meaning of these blocks is clear, so they are
corrected. For text that is not PEM, the error names the encoding and the command that converts it.
"""

import re
from typing import Final

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

    Text that needs no correction is returned unchanged. Takes time in proportion to the text.
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
        text: the text; may hold a private key.
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
    """Returns whether a PEM text holds an encrypted private key, in either form that OpenSSL writes."""
    return any(mark in text for mark in _ENCRYPTED)
