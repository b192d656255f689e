"""Callers that request a certificate again and again, each time on a new connection, as daprd does."""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from benchmarks.demo.server import HOST
from sentry_trio.client import Authority, RequestFailedError, Workload, obtain

_SPIFFE_ID: Final = "spiffe://localhost/ns/default/dapr-sentry"
_PAUSE: Final = 0.1  # seconds of each caller between two calls
_RECENT: Final = 500  # calls whose durations are kept


class Callers:
    """Threads that call, and their counts.

    Attributes:
        answered: calls that returned a certificate for the caller's key.
        failed: all other calls.
        issuers: answered calls by the common name of the certificate's issuer.
        reason: why the last failed call failed; empty if none failed.
        seconds: durations of the latest answered calls.
    """

    def __init__(self, port: int, anchors: bytes, number: int) -> None:
        self._port = port
        self._held = [anchors]
        self._number = number
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.answered = 0
        self.failed = 0
        self.issuers: Counter[str] = Counter()
        self.reason = ""
        self.seconds: deque[float] = deque(maxlen=_RECENT)

    def hold(self, anchor_sets: Sequence[bytes]) -> None:
        """Has callers verify with these trust anchors from their next call on, in turn."""
        self._held = list(anchor_sets)

    def wait_for_answer(self, timeout: float) -> None:
        """Returns when a call is answered.

        Raises:
            RequestFailedError: no call was answered within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._call("first", 0)
            except RequestFailedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    @contextmanager
    def running(self) -> Iterator[None]:
        """Calls during the block; the calls under way at its end are awaited."""
        threads = [threading.Thread(target=self._run, args=(n,)) for n in range(1, self._number + 1)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def _run(self, number: int) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                issuer = self._call(f"app-{number}", number)
            except RequestFailedError as error:
                with self._lock:
                    self.failed += 1
                    self.reason = str(error)
            else:
                with self._lock:
                    self.answered += 1
                    self.issuers[issuer] += 1
                    self.seconds.append(time.monotonic() - began)
            self._stopping.wait(_PAUSE)

    def _call(self, app_id: str, number: int) -> str:
        held = self._held
        authority = Authority(host=HOST, port=self._port, trust_anchors=held[number % len(held)], spiffe_id=_SPIFFE_ID)
        obtained = obtain(authority, Workload(app_id=app_id, namespace="default"), attempts=1)
        return _common_name(obtained.certificate.issuer)


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""
