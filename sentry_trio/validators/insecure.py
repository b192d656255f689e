"""Validator for development, and for networks that authenticate by other means."""

from sentry_trio.grpc.admission import Network
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.validators import AuthenticatedCaller, check_request


class InsecureValidator:
    """Authenticates every caller with a well-formed request; tokens are ignored."""

    async def validate(self, request: SignCertificateRequest, _network: Network) -> AuthenticatedCaller:
        """Authenticates the caller.

        Raises:
            MalformedRequestError: no caller may make this request.
        """
        return AuthenticatedCaller(trust_domain=check_request(request))
