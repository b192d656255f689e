"""Certificates and requests with every field that Go reads, and mutants of them that stay DER for the most part."""

import datetime as dt
import ipaddress
import random
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import AttributeOID, AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from sentry_trio.ca.asn1 import encode

from .making import CA_USAGE, key_usage

_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_EC_KEY = ec.generate_private_key(ec.SECP256R1())
_URI = x509.UniformResourceIdentifier
_NAME = x509.Name(
    [
        x509.NameAttribute(NameOID.COMMON_NAME, "Root & co"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ö"),
        x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
        x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@b.example"),
    ]
)
_ALTERNATIVE_NAMES = x509.SubjectAlternativeName(
    [
        x509.DNSName("a.example"),
        _URI("spiffe://td/ns/x"),
        x509.RFC822Name("x@y.example"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.4")),
        x509.DirectoryName(_NAME),
    ]
)
_CONSTRAINTS = x509.NameConstraints(
    [
        x509.DNSName(".a.example"),
        _URI("td"),
        x509.RFC822Name("u@y.example"),
        x509.IPAddress(ipaddress.ip_network("192.0.2.0/24")),
    ],
    [x509.DNSName("b"), _URI(".c")],
)
_POLICIES = [x509.PolicyInformation(x509.ObjectIdentifier(oid), None) for oid in ("1.2.3", "1.2.4")]
_MAPPINGS = bytes.fromhex("300c300a06032a030406032a0305")
_CA: list[tuple[x509.ExtensionType, bool]] = [(x509.BasicConstraints(True, 3), True), (key_usage(*CA_USAGE), True)]
_MORE: list[tuple[x509.ExtensionType, bool]] = [
    (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.TIME_STAMPING]), False),
    (x509.SubjectKeyIdentifier.from_public_key(_EC_KEY.public_key()), False),
    (x509.AuthorityKeyIdentifier.from_issuer_public_key(_EC_KEY.public_key()), False),
    (_ALTERNATIVE_NAMES, True),
    (_CONSTRAINTS, True),
    (x509.CRLDistributionPoints([x509.DistributionPoint([_URI("http://x/y")], None, None, None)]), False),
    (x509.CertificatePolicies(_POLICIES), False),
    (x509.PolicyConstraints(1, 2), True),
    (x509.InhibitAnyPolicy(3), True),
    (
        x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, _URI("http://o"))]),
        False,
    ),
    (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.1.2"), b"zz"), True),
    (x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.33"), _MAPPINGS), False),
]
_TIMES = [
    (0x17, b"2601010000Z"),
    (0x17, b"260101000000+0100"),
    (0x17, b"260101000000+0000"),
    (0x17, b"260101000000+2459"),
    (0x17, b"260101000060Z"),
    (0x17, b"491231235959Z"),
    (0x17, b"500101000000Z"),
    (0x17, b"681231235959Z"),
    (0x18, b"20260101000000Z"),
    (0x18, b"20260101000000-0130"),
    (0x18, b"20260101000000.5Z"),
    (0x18, b"20260230000000Z"),
    (0x18, b"202601010000Z"),
    (0x18, b"99991231235959Z"),
]
_NAMES = (
    *("http://a b/", "spiffe://td/%zz", "http://[::1]:80/x", "http://[::1%25en0]/", "http://a:b/", "//x", ":x", "a:b"),
    *("http://a..b/", "http://a./", "spiffe://u@h/", "spiffe://a%20b/", "spiffe://a%25/", "*", "", ".a", "a.", "::1"),
    *("192.0.2.1", "a@b", '"q r"@b', "a b@c", "\x80", "http://h#%x", "x://h?%z", "http://a:1:2/", "x://a:1:2/"),
    *("x://a:1:b/", "a@@b", "@", "a@.b", 'ftp://<>"/'),
)
_STRINGS = [b"abc", b"\xe4", b"a&b*", b"12 3", b"a@b", b"", b"\xd8\0\xdc\0", b"\0a\0\0", b"\xff\xff", b"\xed\xa0\x80"]
_STRING_TAGS = (12, 18, 19, 20, 22, 26, 27, 28, 30)
_TAGS = (1, 2, 3, 4, 5, 6, 12, 19, 23, 24, 28, 48, 49, 0xA0, 0xA1, 0x80, 0x81, 0x82, 0x86, 0x87, 0x1F)
_SIGNED_WITH = bytes.fromhex("300a06082a8648ce3d040302")

Element = tuple[int, int, int]
"""Offset, length of tag and length, length of the content."""


def certificates() -> list[bytes]:
    """Returns certificates of all kinds of keys and algorithms, and with all extensions that Go reads."""
    rsa_key = rsa.generate_private_key(65537, 2048)
    made = [_certificate(_EC_KEY, hashes.SHA256(), [*_CA, *_MORE])]
    made += [_certificate(_EC_KEY, hashes.SHA256(), [*_CA, each]) for each in _MORE]
    made += [_certificate(_EC_KEY, hashes.SHA384(), _CA, years=24), _certificate(rsa_key, hashes.SHA512(), _CA)]
    made += [_certificate(ec.generate_private_key(curve()), hashes.SHA384(), _CA) for curve in _CURVES]
    made.append(_certificate(ed25519.Ed25519PrivateKey.generate(), None, _CA))
    for salt in (32, 20):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), salt)
        made.append(_certificate(rsa_key, hashes.SHA256(), _CA, pss=pss))
    return [each.public_bytes(serialization.Encoding.DER) for each in made]


_CURVES = (ec.SECP384R1, ec.SECP521R1, ec.SECP224R1, ec.SECP256K1)


def requests() -> list[bytes]:
    """Returns requests with and without attributes."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_NAME)
    full = builder.add_extension(_ALTERNATIVE_NAMES, True).add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"pw")
    return [each.sign(_EC_KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER) for each in (builder, full)]


def mutants(seeds: list[bytes], chance: random.Random, count: int) -> Iterator[bytes]:
    """Yields the seeds, then mutants of them."""
    yield from seeds
    for _ in range(count):
        mutant = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 2))):
            mutant = mutate(mutant, chance)
        yield mutant


def signed_again(request: bytes, chance: random.Random) -> bytes:
    """Returns a mutant of a request, with a valid signature."""
    _, (start, head, length), *_ = elements(request)
    signed = mutate(request[start : start + head + length], chance)
    signature = _EC_KEY.sign(signed, ec.ECDSA(hashes.SHA256()))
    return encode(0x30, signed, _SIGNED_WITH, encode(3, b"\0", signature))


def elements(der: bytes, start: int = 0, end: int | None = None) -> list[Element]:
    """Returns all elements, those within others and within octet strings among them."""
    end = len(der) if end is None else end
    found: list[Element] = []
    while start + 2 <= end:
        length, head = der[start + 1], 2
        if length & 0x80:
            octets = length & 0x7F
            if not 0 < octets <= 3 or start + 2 + octets > end:
                break
            length, head = int.from_bytes(der[start + 2 : start + 2 + octets], "big"), 2 + octets
        if start + head + length > end:
            break
        found.append((start, head, length))
        if der[start] & 0x20 or (der[start] == 4 and length > 2):
            found += elements(der, start + head, start + head + length)
        start += head + length
    return found


def replaced(der: bytes, element: Element, new: bytes) -> bytes:
    """Returns the DER with an element replaced, and the lengths around it corrected."""
    start, head, length = element
    end = start + head + length
    around = [each for each in elements(der) if each[0] < start and sum(each) >= end]
    der = der[:start] + new + der[end:]
    grown = len(new) - (head + length)
    for outer, outer_head, outer_length in sorted(around, reverse=True):
        stop = outer + outer_head + outer_length + grown
        whole = encode(der[outer], der[outer + outer_head : stop])
        der = der[:outer] + whole + der[stop:]
        grown = len(whole) - (outer_head + outer_length)
    return der


def mutate(der: bytes, chance: random.Random) -> bytes:
    """Returns the DER with one byte, element, type, length, time, name or string changed."""
    found = elements(der)
    if not found:
        return der
    element = start, head, length = chance.choice(found)
    tag, content = der[start], der[start + head : start + head + length]
    at = chance.randrange(length) if length else 0
    any_byte = bytes([chance.randrange(256)])
    other, other_head, other_length = chance.choice(found)
    choices = [
        b"",
        der[start : start + head + length] * 2,
        encode(chance.choice(_TAGS), content),
        encode(tag, content[:at], any_byte, content[at + 1 :]),
        encode(tag, content, any_byte),
        encode(tag, content[:-1]),
        encode(tag, b"\0", content),
        bytes((tag, 0x82)) + (length & 0xFFFF).to_bytes(2, "big") + content,
        der[other : other + other_head + other_length],
    ]
    if tag in (0x17, 0x18):
        choices += [encode(*chance.choice(_TIMES))] * 5
    if tag in (0x81, 0x82, 0x86):
        choices += [encode(chance.choice((0x81, 0x82, 0x86)), chance.choice(_NAMES).encode("latin-1"))] * 10
    if tag in _STRING_TAGS:
        choices += [encode(chance.choice(_STRING_TAGS), chance.choice(_STRINGS))] * 5
    return replaced(der, element, chance.choice(choices))


def _certificate(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    algorithm: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None,
    extensions: list[tuple[x509.ExtensionType, bool]],
    *,
    years: int = 10,
    pss: padding.PSS | None = None,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(0x1234567890)
        .not_valid_before(_NOW)
        .not_valid_after(_NOW + years * dt.timedelta(days=365))
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(key, algorithm, rsa_padding=pss)
