"""What every validator asks of a request, whoever sent it."""

from typing import Final

from sentry_trio.ca.spiffe import parse_trust_domain
from sentry_trio.errors import InvalidIdentityError, MalformedRequestError
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest

# A DNS label with one to spare, as Dapr has it: an app ID becomes part of service names.
_LONGEST_ID: Final = 64
# The trust domain of those that name none.
PUBLIC: Final = "public"


def check_request(request: SignCertificateRequest) -> str:
    """Checks what can be checked without asking anyone; returns the trust domain asked for, `public` if none was.

    Dapr Sentry 1.18 reports all broken rules at once, one a line, and then looks at the trust domain.

    Raises:
        MalformedRequestError: `invalid request: ` and the rules, or what is wrong with the trust domain.
    """
    broken = []
    if not request.id:
        broken.append("parameter app-id cannot be empty")
    elif "." in request.id:
        broken.append("parameter app-id cannot contain dots")
    if len(request.id.encode()) > _LONGEST_ID:
        broken.append(f"app ID must be {_LONGEST_ID} characters or less")
    if not request.certificate_signing_request:
        broken.append("CSR is required")
    if not request.namespace:
        broken.append("namespace is required")
    if broken:
        raise MalformedRequestError("invalid request: " + "\n".join(broken))
    if not request.trust_domain:
        return PUBLIC
    try:
        return parse_trust_domain(request.trust_domain)
    except InvalidIdentityError as error:
        raise MalformedRequestError(str(error)) from error
