"""Kubernetes Events (core/v1), shown by `kubectl describe` and `kubectl get events`."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex
from typing import Any, Final, NoReturn

import msgspec
import trio
from msgspec.structs import replace

from sentry_trio.errors import ApiRejectedError, ApiUnavailableError
from sentry_trio.event_reasons import EventReason
from sentry_trio.grpc.token_bucket import TokenBucket
from sentry_trio.kube.api import Api
from sentry_trio.kube.retry import retry
from sentry_trio.telemetry.logs import get_logger

BURST: Final = 5
"""Events of one reason that may be sent at once."""

INTERVAL: Final = 60.0
"""Seconds after which one more may be sent."""

WAITING: Final = 64
"""Events that may wait to be sent; more are dropped: recording never waits."""

LONGEST_MESSAGE: Final = 1024
"""Characters of a message; the rest is cut off. It is the API server's own limit for the newer kind of Events."""

COMPONENT: Final = "dapr-sentry"

_PATIENCE: Final = 10.0  # s; an Event is worth that much, others wait meanwhile
# Keys, certificates and tokens up to their end: callers do not write them into messages, texts of errors might.
_SECRET: Final = re.compile(r"-----BEGIN .*|\beyJ[\w-]{8,}\.[\w.-]*", re.DOTALL)

_log: Final = get_logger("dapr.sentry")


class _Record(msgspec.Struct, frozen=True):
    """Event to send: the last of `count` of one reason, from `first` to `last`."""

    reason: EventReason
    message: str
    first: datetime
    last: datetime
    count: int = 1


class EventRecorder:
    """Sends Events about one Secret in the background, as far as possible.

    Of each reason `BURST` may be sent at once and one per `INTERVAL`; those in between are counted and sent as one
    Event with the last message and the count as soon as the rate allows. No failure reaches the caller of `record`:
    without the permission to create Events there is one warning in the log, and an Event that cannot be sent within
    10 s is dropped.

    Args:
        api: the API server.
        namespace: namespace of the Secret, and so of the Events.
        secret: name of the Secret.
        instance: the name of this process's pod, or of its host.
        now: the wall clock; aware.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        secret: str,
        *,
        instance: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._secret = secret
        self._instance = instance
        self._now = now
        self._send, self._receive = trio.open_memory_channel[_Record](WAITING)
        self._buckets = {reason: TokenBucket(BURST, refill=BURST * INTERVAL) for reason in EventReason}
        self._held: dict[EventReason, _Record] = {}
        self._refused = False

    def record(self, reason: EventReason, message: str) -> None:
        """Queues an Event, or drops it if too many are queued. Never waits, never raises.

        Args:
            reason: kind of event.
            message: text for people; line breaks become spaces, and text like a key, certificate or token is omitted.
        """
        now = self._now()
        text = " ".join(_SECRET.sub("(left out)", message).split())[:LONGEST_MESSAGE]
        try:
            self._send.send_nowait(_Record(reason, text, now, now))
        except trio.WouldBlock:
            _log.debug(f"too many Events are queued: dropped {reason}: {text}")

    async def keep(self) -> NoReturn:
        """Sends recorded Events, also earlier ones, until cancelled.

        Cancellation: immediate; unsent Events are lost.
        """
        while True:
            next_time = min((self._buckets[reason].ready_at for reason in self._held), default=math.inf)
            with trio.move_on_at(next_time):
                self._hold(await self._receive.receive())
            for reason in list(self._held):
                if self._buckets[reason].spend():
                    await self._try_to_send(self._held.pop(reason))

    def _hold(self, record: _Record) -> None:
        held = self._held.get(record.reason)
        if held is not None:
            record = replace(record, first=held.first, count=held.count + 1)
        self._held[record.reason] = record

    async def _try_to_send(self, record: _Record) -> None:
        event = self._event(record)
        try:
            await retry(partial(self._create, event), patience=_PATIENCE)
        except ApiUnavailableError as error:
            _log.debug(f"cannot send an Event: dropped {record.reason}: {error}")
        except ApiRejectedError as error:
            say = _log.debug if self._refused else _log.warning
            say(f"the API server rejects Events, they are in this log only: {error}")
            self._refused = True
        else:
            self._refused = False

    async def _create(self, event: dict[str, Any]) -> None:
        try:
            await self._api.create(f"/api/v1/namespaces/{self._namespace}/events", event)
        except ApiRejectedError as error:
            # There is no other of this name: an attempt whose answer was lost has made it.
            if error.reason != "AlreadyExists":
                raise

    def _event(self, record: _Record) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{self._secret}.{token_hex(8)}", "namespace": self._namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Secret",
                "namespace": self._namespace,
                "name": self._secret,
            },
            "type": record.reason.type,
            "reason": str(record.reason),
            "message": record.message,
            "count": record.count,
            "firstTimestamp": _timestamp(record.first),
            "lastTimestamp": _timestamp(record.last),
            "source": {"component": COMPONENT, "host": self._instance},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
        }


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
