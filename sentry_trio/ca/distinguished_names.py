"""Distinguished names: checked as Go checks them, and shown as text (RFC 5280, 4.1.2.4).

Names are compared by their bytes, as Go compares them; the text is only for messages.
"""

import re
from typing import TypeAlias

from sentry_trio.ca.asn1 import MalformedError, Reader, Tag

# Beyond X.680, Go's crypto/x509 accepts the asterisk and the ampersand, which occur in practice.
_PRINTABLE = re.compile(rb"[A-Za-z0-9 '()+,\-./:=?*&]*")
_NUMERIC = re.compile(rb"[0-9 ]*")
_BMP_RESERVED = re.compile("[\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")

COMMON_NAME = "2.5.4.3"
ORGANIZATION = "2.5.4.10"

# RFC 4514, 3, and emailAddress, which OpenSSL and Go show by name too.
_SHORT_NAMES = {
    COMMON_NAME: "CN",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    ORGANIZATION: "O",
    "2.5.4.11": "OU",
    "2.5.4.6": "C",
    "2.5.4.9": "STREET",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
}

Attribute: TypeAlias = tuple[str, str]
"""Object identifier of an attribute's type in dotted form, and its value."""

Name: TypeAlias = tuple[tuple[Attribute, ...], ...]
"""Sets of attributes, the most general one first."""


def read_name(der: bytes, field: str) -> Name:
    """Reads a name: a sequence of sets of attributes.

    Args:
        der: the name with tag and length.
        field: the name of the field for messages, e.g. `subject`.

    Raises:
        MalformedError: Go's crypto/x509 rejects the name, e.g. because a value is a UniversalString.
    """
    sets = []
    names = Reader(der).inside(field)
    while names:
        attributes = []
        members = names.inside(f"a set of the {field}", Tag.SET)
        while members:
            attribute = members.inside(f"an attribute of the {field}")
            kind = attribute.object_identifier(f"the type of an attribute of the {field}")
            tag, value = attribute.any_content(f"the value of attribute {_shown_type(kind)} of the {field}")
            attributes.append((kind, _text(tag, value, f"attribute {_shown_type(kind)} of the {field}")))
        sets.append(tuple(attributes))
    return tuple(sets)


def shown_name(name: Name) -> str:
    """Returns a name as text (RFC 4514), the most specific set first; unprintable characters become question marks."""
    sets = ("+".join(f"{_shown_type(kind)}={_escaped(value)}" for kind, value in each) for each in reversed(name))
    return ",".join(sets)


def first_value(name: Name, kind: str) -> str | None:
    """Returns the first value of an attribute type in a name, or None if the name has none."""
    return next((value for attributes in name for each, value in attributes if each == kind), None)


def _shown_type(kind: str) -> str:
    return _SHORT_NAMES.get(kind, kind)


def _escaped(value: str) -> str:
    """Returns a value with the escapes of RFC 4514, 2.4."""
    printable = "".join(character if character.isprintable() else "?" for character in value)
    escaped = re.sub(r'([\\"+,;<>])', r"\\\1", printable)
    if escaped.startswith(("#", " ")):
        escaped = "\\" + escaped
    if escaped.endswith(" ") and not escaped.endswith("\\ "):
        escaped = escaped[:-1] + "\\ "
    return escaped


def _text(tag: int, value: bytes, field: str) -> str:
    """Returns the text of a string type; T61String is read as Latin-1, as Go and BoringSSL do.

    Raises:
        MalformedError: Go does not read this string type, or the value is not of that type.
    """
    match tag:
        case Tag.UTF8_STRING:
            try:
                return value.decode()
            except UnicodeDecodeError as error:
                raise MalformedError(f"{field} is not valid UTF-8") from error
        case Tag.PRINTABLE_STRING if _PRINTABLE.fullmatch(value):
            return value.decode()
        case Tag.IA5_STRING if value.isascii():
            return value.decode()
        case Tag.NUMERIC_STRING if _NUMERIC.fullmatch(value):
            return value.decode()
        case Tag.T61_STRING:
            return value.decode("latin-1")
        case Tag.BMP_STRING if len(value) % 2 == 0:
            text = value.removesuffix(b"\0\0").decode("utf-16-be", "surrogatepass")
            # A pair of surrogates is decoded to one character beyond the plane.
            if not _BMP_RESERVED.search(text) and all(ord(character) < 0x10000 for character in text):
                return text
        case Tag.PRINTABLE_STRING | Tag.IA5_STRING | Tag.NUMERIC_STRING | Tag.BMP_STRING:
            pass
        case _:
            raise MalformedError(f"{field} has a string type that Go does not read (tag 0x{tag:02x})")
    raise MalformedError(f"{field} has characters that its string type does not allow")
