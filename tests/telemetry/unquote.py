"""Go's strconv.Unquote for double-quoted literals, by its documentation: the counterpart of quoting."""

import re

_LITERAL = re.compile(
    r"""\\(?P<short>[abfnrtv\\"])|\\x(?P<byte>[0-9a-f]{2})|\\u(?P<u4>[0-9a-f]{4})|\\U(?P<u8>[0-9a-f]{8})|(?P<raw>[^\\"\n])"""
)
_SHORT = dict(zip('abfnrtv\\"', b'\a\b\f\n\r\t\v\\"', strict=True))


def unquote(literal: str) -> bytes:
    """The bytes that a Go string literal means; ValueError if it is none."""
    if len(literal) < 2 or literal[0] != '"' or literal[-1] != '"':
        raise ValueError(f"not quoted: {literal}")
    result = bytearray()
    position, end = 1, len(literal) - 1
    while position < end:
        match = _LITERAL.match(literal, position, end)
        if match is None:
            raise ValueError(f"invalid syntax at {position}: {literal}")
        position = match.end()
        if short := match["short"]:
            result.append(_SHORT[short])
        elif byte := match["byte"]:
            result.append(int(byte, 16))
        elif code := match["u4"] or match["u8"]:
            result += chr(int(code, 16)).encode()  # halves of surrogate pairs are invalid to Go, and raise here
        else:
            result += match["raw"].encode()
    return bytes(result)
