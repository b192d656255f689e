"""Tokens that have to be rejected, as strategies of hypothesis: made by hand, and signed by PyJWT's algorithms.

Those for which it takes one are signed by a good key: then nothing but the flaw itself is between them and belief.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# Work is counted where it matters; how long a loaded machine takes for it does not.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def encoded(part: object) -> str:
    """A segment of a token: bytes as they are, anything else as JSON."""
    document = part if isinstance(part, bytes) else json.dumps(part).encode()
    return urlsafe_b64encode(document).rstrip(b"=").decode()


def sealed(header: object, payload: object, key: Any, algorithm: str) -> str:
    """A token with a signature of exactly these bytes under any header; `none` for an empty one."""
    signed = f"{encoded(header)}.{encoded(payload)}"
    maker = jwt.get_algorithm_by_name(algorithm)
    # Not by `prepare_key`, which has no public key taken for a secret; that is what is tried here.
    return f"{signed}.{encoded(maker.sign(signed.encode(), key))}"


class Forger:
    """Makes tokens that are good but for one thing.

    Args:
        keys: the private keys of a set by algorithm, which is the key's ID as well.
        claims: good ones.
    """

    def __init__(self, keys: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
        self._keys = keys
        self._claims = claims
        self._names = st.sampled_from(sorted(keys))
        self._good = {name: self.made(name) for name in keys}

    def made(self, name: str, header: object = None, payload: object = None) -> str:
        """A token by one of the keys; valid except for the given members."""
        own = {"alg": name, "kid": name}
        return sealed(own if header is None else header, payload or self._claims, self._keys[name], name)

    def good(self) -> st.SearchStrategy[str]:
        """Tokens that are accepted: any algorithm, any claims more, times with fractions."""
        more = st.dictionaries(st.text(max_size=4).filter(lambda name: name not in self._claims), JSON, max_size=3)
        typ = st.sampled_from(["JWT", "JOSE", "at+jwt"])
        fraction = st.floats(0, 0.99)
        return st.builds(
            lambda name, typ, claims, fraction: self.made(
                name,
                {"typ": typ, "kid": name, "alg": name},
                claims | self._claims | {"exp": self._claims["exp"] + fraction},
            ),
            self._names,
            typ,
            more,
            fraction,
        )

    def truncated(self) -> st.SearchStrategy[str]:
        """Cut at any place, or a part left out, or one too many."""
        good = self._names.map(self._good.__getitem__)
        cut = st.builds(lambda text, at: text[: 1 + at % (len(text) - 1)], good, st.integers(0, 10_000))
        order = st.lists(st.integers(0, 2), min_size=1, max_size=5).filter(lambda parts: parts != [0, 1, 2])
        return cut | st.builds(lambda text, parts: ".".join(text.split(".")[part] for part in parts), good, order)

    def altered(self) -> st.SearchStrategy[str]:
        """One character changed, mostly for another one of base64url."""

        def change(text: str, at: int, to: str) -> str:
            at %= len(text)
            return text[:at] + (to if text[at] != to else "." + to) + text[at + 1 :]

        anything = st.sampled_from(ALPHABET) | st.characters(codec="utf-8")
        return st.builds(change, self._names.map(self._good.__getitem__), st.integers(0, 10_000), anything)

    def unsigned(self) -> st.SearchStrategy[str]:
        """`none` in all spellings, and other algorithms that are none, with any signature or without."""
        none = st.sampled_from(["none", "None", "NONE", "nOnE", "", "RS255", "rs256", "ES256K", "HS1", "dir", "A128KW"])
        signature = st.just(b"") | st.binary(max_size=300)
        return st.builds(
            lambda kid, algorithm, signature: (
                f"{encoded({'alg': algorithm, 'kid': kid})}.{encoded(self._claims)}.{encoded(signature)}"
            ),
            self._names,
            none | JSON.filter(lambda value: not isinstance(value, str)),
            signature,
        )

    def swapped(self) -> st.SearchStrategy[str]:
        """Algorithm, key, and key ID that do not belong together."""

        def swap(name: str, reported: str, kid: str) -> str:
            return self.made(name, {"alg": reported, "kid": kid})

        return (
            st.tuples(self._names, self._names, self._names).filter(lambda it: not _fits(*it)).map(lambda it: swap(*it))
        )

    def public_as_secret(self) -> st.SearchStrategy[str]:
        """HMAC with a text of the public key as its secret (RFC 8725, section 3.1)."""

        def forge(name: str, algorithm: str, form: int, kid: str | None) -> str:
            secret = _texts(self._keys[name].public_key(), name)[form]
            return sealed({"alg": algorithm, "kid": kid or name}, self._claims, secret, algorithm)

        asymmetric = st.sampled_from([name for name in sorted(self._keys) if not name.startswith("HS")])
        hashes = st.sampled_from(["HS256", "HS384", "HS512"])
        return st.builds(forge, asymmetric, hashes, st.integers(0, 4), st.none() | self._names)

    def embedded_key(self) -> st.SearchStrategy[str]:
        """A key of the sender's own in the header, or the place of one, and a signature by it."""

        def forge(stranger: ec.EllipticCurvePrivateKey, where: str) -> str:
            public = jwt.algorithms.ECAlgorithm.to_jwk(stranger.public_key(), as_dict=True)
            places = {
                "jwk": {**public, "kid": "ES256"},
                "jku": "https://127.0.0.1/keys",
                "x5c": ["AAAA"],
                "x5t": "AAAA",
            }
            return sealed({"alg": "ES256", "kid": "ES256", where: places[where]}, self._claims, stranger, "ES256")

        strangers = st.builds(lambda: ec.generate_private_key(ec.SECP256R1()))
        return st.builds(forge, strangers, st.sampled_from(["jwk", "jku", "x5c", "x5t"]))

    def key_ids(self) -> st.SearchStrategy[str]:
        """No key ID, or an ID that is not text or unknown; signed by a good key."""
        kids = JSON.filter(lambda kid: not isinstance(kid, str) or kid not in self._keys)
        reported = st.builds(lambda name, kid: (name, {"alg": name, "kid": kid}), self._names, kids)
        without = self._names.map(lambda name: (name, {"alg": name}))
        return (reported | without).map(lambda it: self.made(*it))

    def critical(self) -> st.SearchStrategy[str]:
        """Extensions that have to be understood, and payloads that are not in base64url."""
        crit = JSON | st.lists(st.sampled_from(["exp", "b64", "alg", "kid"]), max_size=2)
        members = st.builds(lambda crit: {"crit": crit}, crit) | st.builds(
            lambda b64: {"b64": b64}, JSON.filter(lambda it: it is not True)
        )
        return st.builds(lambda name, more: self.made(name, {"alg": name, "kid": name} | more), self._names, members)

    def duplicates(self) -> st.SearchStrategy[str]:
        """A duplicate name in the header, in the claims, or deeper in either."""

        def forge(name: str, at: str, member: int, deep: bool, escaped: bool) -> str:
            header: dict[str, Any] = {"alg": name, "kid": name}
            parts = {"header": header, "claims": dict(self._claims)}
            members = list(parts[at].items())
            twice, value = members[member % len(members)]
            written = json.dumps(parts[at])[1:-1]
            label = "".join(f"\\u{ord(char):04x}" for char in twice) if escaped else twice
            more = f'"{label}":{json.dumps(value)}'
            text = f'{{{written},"x":[{{"{twice}":1,{more}}}]}}' if deep else f"{{{more},{written}}}"
            documents = {part: json.dumps(value).encode() for part, value in parts.items()} | {at: text.encode()}
            return self.made(name, documents["header"], documents["claims"])

        places = st.sampled_from(["header", "claims"])
        return st.builds(forge, self._names, places, st.integers(0, 9), st.booleans(), st.booleans())

    def documents(self) -> st.SearchStrategy[str]:
        """Header or claims that are not a JSON object in UTF-8, or deeply nested; signed by a good key."""
        claims = json.dumps(dict(self._claims)).encode()
        bad = (
            st.sampled_from([b"", b"null", b"[]", b"1", b'"x"', claims + claims, claims[:-1]])
            | st.integers(1, 8000).map(lambda depth: claims[:-1] + b',"x":' + b"[" * depth)
            | st.integers(1, 1500).map(lambda depth: claims[:-1] + b',"x":' + b'{"a":' * depth)
            | st.sampled_from([b"NaN", b"Infinity", b"-Infinity", b"9" * 5000, b"'1'", b"01", b"+1", b"0x1"]).map(
                lambda number: claims[:-1] + b',"x":' + number + b"}"
            )
            | st.sampled_from([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\x00", b"\n"]).map(
                lambda data: claims[:-1] + b',"x":"' + data + b'"}'
            )
        )
        bad |= st.sampled_from(["utf-16", "utf-16-le", "utf-32", "utf-8-sig"]).map(
            lambda name: json.dumps({**self._claims, "alg": "ES256", "kid": "ES256"}).encode(name)
        )
        headers = bad.map(lambda document: self.made("ES256", document))
        # An empty document would be taken for none.
        payloads = bad.filter(bool).map(lambda document: self.made("ES256", None, document))
        return headers | payloads

    def claims_amiss(self) -> st.SearchStrategy[str]:
        """A claim of another type or value than it has to have, or none; signed by a good key."""
        no_time = JSON.filter(lambda value: isinstance(value, bool) or not isinstance(value, int | float))
        far = st.sampled_from([10**12, 10**18, 10**400, -(10**12), -(10**400), 1e300, -1e300])
        exp, late = self._claims["exp"], st.integers(10**4, 10**9)
        audience = self._claims["aud"]
        wrong: dict[str, st.SearchStrategy[object]] = {
            "exp": no_time
            | far
            | late.map(lambda seconds: exp - seconds)
            | st.floats(max_value=exp - 10**4, min_value=0),
            "nbf": no_time | far | late.map(lambda seconds: exp + seconds),
            "iat": no_time | far | late.map(lambda seconds: exp + seconds),
            "aud": JSON | st.sampled_from([[[audience]], {"x": audience}, [], "", f"{audience} x", [audience, 5]]),
            "sub": JSON
            | st.sampled_from([[self._claims["sub"]], f"{self._claims['sub']}/", self._claims["sub"].upper()]),
        }
        amiss = st.sampled_from(sorted(wrong)).flatmap(lambda name: wrong[name].map(lambda value: {name: value}))
        without = st.sampled_from(["exp", "aud", "sub"]).map(
            lambda gone: {name: value for name, value in self._claims.items() if name != gone}
        )
        claims = amiss.map(lambda changes: {**self._claims, **changes}) | without
        return st.builds(lambda name, claims: self.made(name, None, claims), self._names, claims)

    def spellings(self) -> st.SearchStrategy[str]:
        """The very bytes of a good token in base64url that no encoder writes."""

        def spare(name: str, part: int, more: int) -> str | None:
            parts = self._good[name].split(".")
            unused = {2: 4, 3: 2}.get(len(parts[part]) % 4, 0)
            if not unused:
                return None
            last = ALPHABET.index(parts[part][-1])
            parts[part] = parts[part][:-1] + ALPHABET[last + 1 + more % ((1 << unused) - 1)]
            return ".".join(parts)

        def insert(name: str, what: str, at: int) -> str:
            text = self._good[name]
            at = 1 + at % (len(text) - 1)
            return text[:at] + what + text[at:]

        spares = st.builds(spare, self._names, st.integers(0, 2), st.integers(0, 99))
        inserted = st.builds(
            insert, self._names, st.sampled_from(["=", "==", " ", "\n", "\0", "%3D", "\u200b"]), st.integers(0, 10_000)
        )
        padded = st.builds(
            lambda name, pad: self._good[name] + pad, self._names, st.sampled_from(["=", "==", ".", "\0"])
        )
        return spares.filter(lambda text: text is not None).map(str) | inserted | padded

    def other_shapes(self) -> st.SearchStrategy[str]:
        """JWE (RFC 7516), the JSON serializations, several tokens, and texts that are nothing at all."""

        def json_form(name: str, general: bool) -> str:
            header, payload, signature = self._good[name].split(".")
            one = {"protected": header, "signature": signature}
            return json.dumps({"payload": payload, **({"signatures": [one]} if general else one)})

        part = st.binary(max_size=64).map(encoded)
        jwe = st.builds(
            lambda header, parts: ".".join([encoded(header), *parts]),
            st.fixed_dictionaries(
                {"alg": st.sampled_from(["dir", "RSA-OAEP", "ES256"]), "enc": st.just("A128GCM"), "kid": self._names}
            ),
            st.lists(part, min_size=4, max_size=4),
        )
        forms = st.builds(json_form, self._names, st.booleans())
        several = st.builds(lambda name, mark: mark.join([self._good[name]] * 2), self._names, st.sampled_from(" .,\n"))
        prefixed = self._names.map(lambda name: f"Bearer {self._good[name]}")
        return jwe | forms | several | prefixed | st.text(min_size=1, max_size=200)

    def huge(self, limit: int) -> st.SearchStrategy[str]:
        """Good but for its length, a byte or more beyond the limit; and long ones that are nothing."""

        def forge(name: str, more: int) -> str:
            claims = json.dumps(dict(self._claims)).encode()
            head = len(self._good[name].partition(".")[0])
            # Spaces, which JSON permits: the token is valid but for its length.
            return self.made(name, None, claims + b" " * ((limit - head) * 3 // 4 + more))

        signed = st.builds(forge, self._names, st.integers(0, 100_000))
        # Not drawn whole: hypothesis keeps what it draws small.
        return signed | st.builds(
            lambda text, times: text * (limit // len(text) + times), st.text(min_size=1, max_size=9), st.integers(2, 9)
        )


def _fits(signs: str, reported: str, kid: str) -> bool:
    """True if a signature by one algorithm verifies as another one by the key with that ID."""
    one_key = signs[:2] == kid[:2] == "HS" or {signs[:2], kid[:2]} <= {"RS", "PS"} or signs == kid
    return one_key and signs == reported


def _texts(public: Any, name: str) -> list[bytes]:
    """Names by which a public key may be known."""
    jwk = jwt.get_algorithm_by_name(name).to_jwk(public, as_dict=True)
    number = str(jwk.get("n", jwk.get("x")))
    pem = public.public_bytes(serialization.Encoding.PEM, SPKI)
    der = public.public_bytes(serialization.Encoding.DER, SPKI)
    return [pem, pem.rstrip(), der, json.dumps(jwk).encode(), number.encode()]
