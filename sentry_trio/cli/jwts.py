"""JWTs that were issued with a certificate: their files and their main claims. They are secrets."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sentry_trio.client import Obtained, RequestFailedError
from sentry_trio.discreet import Discreet
from sentry_trio.go_text import quote
from sentry_trio.tokens.compact import InvalidTokenError, encode_token, read_object, split_token


class ObtainedJwt(Discreet, frozen=True):
    """A JWT that was issued.

    Attributes:
        name: name of its file.
        label: its name in the summary.
        token: the JWT; not shown by `repr`.
    """

    UNSHOWN = frozenset({"token"})

    name: str
    label: str
    token: str


def jwts_of(obtained: Obtained, audiences: Sequence[str]) -> list[ObtainedJwt]:
    """Returns the JWT for all audiences, in `jwt.txt`, then one for each requested audience, in `jwt-1.txt` and so on.

    Args:
        obtained: the answer.
        audiences: requested audiences, in that order; a repeated one counts once.

    Raises:
        RequestFailedError: the authority issued none for one of them.
    """
    made = [] if obtained.jwt is None else [ObtainedJwt("jwt.txt", "JWT", obtained.jwt)]
    for number, audience in enumerate(dict.fromkeys(audiences), 1):
        token = obtained.audience_jwts.get(audience)
        if token is None:
            raise RequestFailedError(
                f"no JWT for audience {quote(audience)} was issued: start the authority with --jwt-enabled"
            )
        made.append(ObtainedJwt(f"jwt-{number}.txt", f"JWT {number}", token))
    return made


def brief(token: str) -> list[str]:
    """Returns audiences, expiry and key ID of a token, a line each; nothing is verified, as it came over TLS.

    Values are quoted: the authority chose them, and a terminal obeys control characters.
    """
    try:
        parts = split_token(encode_token(token))
        header, claims = read_object(parts.header), read_object(parts.payload)
    except InvalidTokenError as error:
        return [f"cannot be parsed: {error}"]
    audiences = claims.get("aud")
    named = audiences if isinstance(audiences, list) else [audiences]
    return [
        f"for {', '.join(quote(str(each)) for each in named)}",
        f"until {_time(claims.get('exp'))}",
        f"key ID {quote(str(header.get('kid')))}",
    ]


def _time(seconds: object) -> str:
    try:
        if isinstance(seconds, int | float):
            return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        pass
    return quote(str(seconds))
