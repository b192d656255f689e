"""Vouches for whoever asks: for development, and for networks that authenticate by other means."""

from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.validators import Vouched
from sentry_trio.validators.request import check_request


class InsecureValidator:
    """Asks only that the request is well formed; tokens are not looked at, any app ID may be asked for."""

    async def validate(self, request: SignCertificateRequest) -> Vouched:
        """Vouches for the caller.

        Raises:
            MalformedRequestError: no caller may make this request.
        """
        return Vouched(trust_domain=check_request(request))
