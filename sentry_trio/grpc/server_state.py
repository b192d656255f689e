"""State that all connections of one server share."""

from collections.abc import Iterable

from .admission import Admission
from .concurrency import ConcurrencyLimiter, FairLimiter
from .cpu_budget import HANDSHAKE, HANDSHAKES_REFILL, NETWORK_CONNECTIONS, NetworkBudgets
from .deadlines import Deadlines
from .heap import HeapTrimmer, glibc_trim, map_large_buffers
from .interfaces import Service
from .limits import Limits
from .memory_budget import MemoryBudget
from .observer import Observer
from .turn_scheduler import TurnScheduler


class ServerState:
    """State that all connections of one server share.

    Args:
        services: services to serve.
        limits: limits on peers.
        observer: notified of events.

    Attributes:
        handlers: handlers by path.
        admission: admits connections.
        limiter: limits calls with one reply.
        streaming: limits calls with streamed replies.
        memory: budget of memory for calls.
        networks: budgets of CPU for work without calls, by network.
        handshakes: budgets of CPU for handshakes, by network.
        turns: shares the turns of the event loop.
        deadlines: ends calls at their deadlines.
        heap: trims the heap while there are connections.
    """

    def __init__(self, services: Iterable[Service], limits: Limits, observer: Observer) -> None:
        self.handlers = {
            path.encode("ascii"): handler for service in services for path, handler in service.__mapping__().items()
        }
        self.limits = limits
        self.observer = observer
        self.memory = MemoryBudget(limits.unread_bytes_in_all, limits.connections)
        self.admission = Admission(limits, self.memory)
        self.turns = TurnScheduler()
        self.deadlines = Deadlines()
        self.limiter = ConcurrencyLimiter(
            self.turns,
            running=limits.calls,
            waiting=limits.calls_waiting,
            patience=limits.waiting_timeout,
            observer=observer,
        )
        self.streaming = FairLimiter(limits.streaming_calls, observer)
        self.networks = NetworkBudgets(NETWORK_CONNECTIONS * limits.control_frames)
        # As many as may be under way or open: if each completes a call, none waits.
        handshakes = max(limits.handshakes, limits.connections_per_peer)
        self.handshakes = NetworkBudgets(HANDSHAKE * handshakes, refill=HANDSHAKES_REFILL)
        self.heap = HeapTrimmer(glibc_trim())
        map_large_buffers()
