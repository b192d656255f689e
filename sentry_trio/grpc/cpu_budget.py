"""CPU time that peers cause: prices, and the budgets of connections and networks.

A price of 1 is `PRICE_SECONDS`; `benchmarks/prices.py` measures the prices.
"""

from typing import Final

import trio

from .admission import Network
from .frames import ErrorCode, ViolationError
from .limits import CONTROL_FRAMES_REFILL
from .token_bucket import TokenBucket
from .turn_scheduler import SLICE, TurnScheduler

CALL: Final = 11
"""Price of starting a call and of its usual answer, beyond that of its frames.

So a slice brings no more calls than may start in one turn (`CALLS_STARTED_AT_ONCE`), and none has to wait.
"""
HANDSHAKE: Final = 50
"""Price of a TLS handshake."""
HANDSHAKE_READ: Final = 2
"""Price of each read in a handshake, or before it."""
HANDSHAKES_REFILL: Final = 5.0
"""Seconds in which a network's budget for handshakes is refilled: with 500 handshakes, 10 % of a core."""
USUAL_BLOCK_BYTES: Final = 256
"""Bytes of a header block that the price of its frame includes; more bytes have a price."""
USUAL_HEADERS: Final = 32
"""Header fields of a block that the price of its frame includes."""
SLOW_DOWN_SECONDS: Final = 0.05
"""Pause of a connection that has spent half of its budget and continues to spend."""
OWN_TOKENS: Final = 32
"""Tokens of a connection's budget that its network does not pay for: ten times as many as grpc-go needs, whose calls
earn nearly all that they cost, and less than the price of another connection's handshake."""
NETWORK_CONNECTIONS: Final = 10
"""Budget of a network, in budgets of connections: 0.2 s of CPU at once, 3 ms in each second."""
RECORD_OVERHEAD: Final = 32
"""Bytes of TLS in a record beside its data that cost nothing."""
COMPRESSED_BYTES: Final = 256
"""Bytes of a gzip message that cost 1: as many as describe codes, the most expensive part of the format."""
INFLATED_BYTES: Final = 8 * 1024
"""Decompressed bytes that cost 1."""
USUAL_INFLATION: Final = 16
"""Price of decompression that a message is not charged for."""
_NETWORKS: Final = 4096  # budgets that are kept in memory, 1 MiB
_SETTING_BYTES: Final = 48  # bytes that cost 1; the following likewise
_BLOCK_BYTES: Final = 64  # Huffman codes
_HEADERS: Final = 4
_MESSAGES: Final = 16
_INFLATION: Final = 8  # of its price in a turn, which is that of the most expensive data
_UNWANTED_BYTES: Final = 1024
_OVERHEAD_BYTES: Final = 28  # of TLS: a key update
# A service's normal use is free: small messages and large records.
_USUAL_RECORD_BYTES: Final = 512


def settings_price(size: int) -> int:
    """Returns the price of a SETTINGS frame of `size` bytes."""
    return 1 + size // _SETTING_BYTES


def head_price(size: int, headers: int) -> int:
    """Returns the price of a header block beyond that of a usual one."""
    # References to the table cost by the entry.
    return max(0, size - USUAL_BLOCK_BYTES) // _BLOCK_BYTES + max(0, headers - USUAL_HEADERS) // _HEADERS


class NetworkBudgets:
    """Budgets of networks: they outlive connections, so that a peer gains nothing by a new one.

    Args:
        tokens: budget of a network.
        refill: seconds in which an empty budget fills up.
    """

    __slots__ = ("_budgets", "_refill", "_tokens")

    def __init__(self, tokens: int, *, refill: float = CONTROL_FRAMES_REFILL) -> None:
        self._tokens = tokens
        self._refill = refill
        self._budgets: dict[Network, TokenBucket] = {}

    def __getitem__(self, network: Network) -> TokenBucket:
        budget = self._budgets.get(network)
        if budget is None:
            if len(self._budgets) >= _NETWORKS:
                self._forget()
            budget = self._budgets[network] = TokenBucket(self._tokens, refill=self._refill)
        return budget

    def _forget(self) -> None:
        """Keeps the budgets that have spent most and are not full again, at most half of all."""
        for budget in self._budgets.values():
            budget.spend(0)
        spent = sorted(self._budgets.items(), key=lambda item: item[1].left)[: _NETWORKS // 2]
        self._budgets = {network: budget for network, budget in spent if budget.left < budget.size}


class CPUBudget(TokenBucket):
    """Budget of CPU for one connection: in one turn of the event loop, and without calls in a longer time.

    Work of calls is bounded in each turn only, because the server exists for it. A connection that has spent half of
    its budget for other work is slowed down. A connection that has spent all of it is cut, and so is one that has spent
    more than `OWN_TOKENS` if its network has spent all of its budget.

    Args:
        tokens: budget for work without calls, in control frames with a price of 1.
        network: budget of the peer's network.

    Attributes:
        used: work in this turn.
        charged: true if some of it was without a call.
    """

    __slots__ = ("_network", "charged", "used")

    def __init__(self, tokens: int, network: TokenBucket) -> None:
        super().__init__(tokens)
        self._network = network
        self.used = 0.0
        self.charged = False

    def charge(self, price: float = 1) -> None:
        """Spends on work without a call.

        Raises:
            ViolationError: the budget is exhausted.
        """
        self.used += price
        self.charged = True
        if not self.spend(price) or (self.left < self.size - OWN_TOKENS and not self._network.spend(price)):
            raise ViolationError(ErrorCode.ENHANCE_YOUR_CALM)

    @property
    def rest(self) -> float:
        """Work that this slice has room for, at least 1."""
        return max(1.0, SLICE - self.used)

    def spend_on_messages(self, messages: int, inflation: float, unusual: float) -> None:
        """Spends on messages of a call, and the price of their decompression, an unusual part of it included."""
        self.used += messages / _MESSAGES + inflation
        if unusual:
            self.charge(unusual / _INFLATION)

    def charge_unwanted(self, size: int) -> None:
        """Charges data that is discarded."""
        self.charge(1 + size // _UNWANTED_BYTES)

    def charge_record(self, overhead: int, size: int) -> None:
        """Charges a TLS record that completes no frame or comes with key updates.

        Args:
            overhead: bytes of TLS beside the data.
            size: bytes of data.
        """
        self.used += 1
        if overhead > RECORD_OVERHEAD:
            self.charge(overhead / _OVERHEAD_BYTES)
        elif size < _USUAL_RECORD_BYTES:
            self.charge()

    @property
    def slowed_down(self) -> bool:
        """True if half of the budget for work without calls is spent, and this slice has spent some of it."""
        return self.charged and self.left < self.size / 2

    def begin_slice(self) -> None:
        """Begins the slice of another turn."""
        self.used = 0.0
        self.charged = False


class HandshakeWork:
    """CPU of one connection until its handshake is done, charged to the budget of its network.

    A network with an exhausted budget waits until enough has been refilled. The first completed call of a connection
    gives back the cost of its handshake. So sidecars behind one address that all restart at once do not wait, and a
    peer that only reconnects is slowed down.

    Args:
        turns: turns of the event loop.
        network: network of the peer.
        budget: budget of that network for handshakes.
    """

    __slots__ = ("_budget", "_network", "_spent", "_turns")

    def __init__(self, turns: TurnScheduler, network: Network, budget: TokenBucket) -> None:
        self._turns = turns
        self._network = network
        self._budget = budget
        self._spent = 0.0

    async def wait_to_begin(self) -> None:
        """Charges a handshake, and waits until the budget and the turn have room for it; no checkpoint if they have."""
        self._spent += HANDSHAKE
        if pause := self._budget.borrow(HANDSHAKE):
            try:
                await trio.sleep(pause)
            except trio.Cancelled:
                self._spent -= HANDSHAKE
                self._budget.earn(HANDSHAKE)
                raise
        await self._turns.wait_if_full(self._network, HANDSHAKE)

    async def wait_to_read(self) -> None:
        """Charges a read, and waits until the turn has room for it; no checkpoint if it has.

        It does not wait for the budget, or a handshake would queue once more with each read.
        """
        if self._budget.spend(HANDSHAKE_READ):
            self._spent += HANDSHAKE_READ
        await self._turns.wait_if_full(self._network, HANDSHAKE_READ)

    def give_back(self) -> None:
        """Returns the charge to the network."""
        self._budget.earn(self._spent)
        self._spent = 0.0
