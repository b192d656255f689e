"""Our gRPC server and our service without logs and metrics, to measure the cost of those."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import trio
from prometheus_client import Counter

from benchmarks.contenders import serving
from sentry_trio.ca.issue import Issuer
from sentry_trio.grpc import serve_grpc, server_context
from sentry_trio.listener import open_listener
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.service import CertificateService, Policy
from sentry_trio.telemetry.logs import configure_logging
from sentry_trio.telemetry.metrics import Metrics, Stage
from sentry_trio.validators import Validators
from sentry_trio.validators.insecure import InsecureValidator

_NOTHING: Final = nullcontext()


class _Unmoved(Counter):
    """Ignores all counts."""

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        pass


class _Ignored(Metrics):
    """Ignores all events of a successful call."""

    def __init__(self) -> None:
        super().__init__()
        self.csrs_received = self.certificates_issued = _Unmoved("unmoved", "Unmoved.", registry=None)

    def stage(self, stage: Stage) -> AbstractContextManager[None]:  # noqa: ARG002  # as the base has it
        return _NOTHING


def service(issuer: Issuer) -> CertificateService:
    """The real service, which authenticates every caller."""
    insecure = SignCertificateRequest.INSECURE
    return CertificateService(
        issuer,
        Validators(present={insecure: InsecureValidator()}, default=insecure),
        Policy(
            lifetime=serving.LIFETIME,
            allowed_clock_skew=serving.SKEW,
            namespace=serving.NAMESPACE,
            cluster_domain=lambda: serving.CLUSTER_DOMAIN,
        ),
        metrics=_Ignored(),
        now=serving.wall_clock,
    )


async def _serve(issuer: Issuer) -> None:
    leaf = serving.serving_leaf(issuer)
    context = server_context(leaf.chain, leaf.key)
    listener = await open_listener("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:

        async def serve(*, task_status: trio.TaskStatus[None]) -> None:
            await serve_grpc([service(issuer)], [listener], tls=lambda: context, task_status=task_status)

        await nursery.start(serve)
        serving.announce(listener.getsockname()[1])


if __name__ == "__main__":
    configure_logging(level="fatal", as_json=False, stream=sys.stderr, instance="", version="")
    trio.run(_serve, serving.issuer_from_command_line())
