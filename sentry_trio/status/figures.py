"""What a replica counts, read from its metrics; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from sentry_trio.status.health import NotOursError

_OURS: Final = "dapr_sentry_cert_sign_request_received_total"
# What the parser raises for lines that it was not made for.
_UNREADABLE: Final = (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError)
_Series = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Counts since the process began, and gauges of the moment; of what is told by label, what is not 0.

    Attributes:
        received: signing requests.
        signed: certificates handed out.
        refused: signing requests that were refused or failed, by cause and gRPC status.
        calls: finished gRPC calls, by gRPC status.
        restarts: by outcome, `success` or `failure`.
        restart_failures: by cause.
        connections: open now.
        connections_refused: for want of room.
        handshakes_failed: TLS handshakes that peers did not complete.
        waiting: calls that wait for their turn now.
        shed: calls refused for want of room, by reason.
    """

    received: int
    signed: int
    refused: tuple[tuple[str, str, int], ...] = ()
    calls: tuple[tuple[str, int], ...] = ()
    restarts: tuple[tuple[str, int], ...] = ()
    restart_failures: tuple[tuple[str, int], ...] = ()
    connections: int = 0
    connections_refused: int = 0
    handshakes_failed: int = 0
    waiting: int = 0
    shed: tuple[tuple[str, int], ...] = ()


def read_figures(body: bytes) -> Figures:
    """The figures in a Prometheus text exposition.

    Raises:
        NotOursError: it is none, or not of a Sentry.
    """
    try:
        series = _Exposition(body.decode())
        return series.figures()
    except _UNREADABLE as error:
        if isinstance(error, NotOursError):
            raise
        raise NotOursError("no metrics: not the Prometheus text format") from error


class _Exposition:
    def __init__(self, text: str) -> None:
        self._series: dict[str, list[_Series]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._series.setdefault(sample.name, []).append((sample.labels, sample.value))
        if _OURS not in self._series:
            raise NotOursError(f"no metrics of a Sentry: there is no {_OURS}")

    def figures(self) -> Figures:
        return Figures(
            received=self._one(_OURS),
            signed=self._one("dapr_sentry_cert_sign_success_total"),
            refused=tuple(
                sorted(
                    (labels.get("reason", ""), labels.get("code", ""), int(value))
                    for labels, value in self._all("sentry_sign_failures_total")
                    if value
                )
            ),
            calls=self._by("sentry_grpc_calls_total", "code"),
            restarts=self._by("sentry_restarts_total", "outcome"),
            restart_failures=self._by("sentry_restart_failures_total", "cause"),
            connections=self._one("sentry_grpc_connections"),
            connections_refused=self._one("sentry_grpc_connections_refused_total"),
            handshakes_failed=self._one("sentry_grpc_handshakes_failed_total"),
            waiting=self._one("sentry_grpc_calls_waiting"),
            shed=self._by("sentry_grpc_calls_shed_total", "reason"),
        )

    def _all(self, name: str) -> Iterable[_Series]:
        return self._series.get(name, ())

    def _one(self, name: str) -> int:
        return int(sum(value for _, value in self._all(name)))

    def _by(self, name: str, label: str) -> tuple[tuple[str, int], ...]:
        return tuple(sorted((labels.get(label, ""), int(value)) for labels, value in self._all(name) if value))
