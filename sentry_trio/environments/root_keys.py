"""Access to root keys that are kept: their passphrase, read when it is needed, and early checks of the stored key."""

from pathlib import Path
from typing import Final

import trio
from msgspec.structs import replace

from sentry_trio.ca.parts import Parts
from sentry_trio.ca.renewal_policy import RenewalPolicy, Situation
from sentry_trio.ca.renewal_root import RootKeys
from sentry_trio.ca.renewal_state import read_state
from sentry_trio.errors import Part, StoreError
from sentry_trio.stores.passphrase import read_passphrase_file
from sentry_trio.stores.permissions import check_passphrase_file
from sentry_trio.telemetry.logs import get_logger

_log: Final = get_logger("dapr.sentry.ca")


class RootKeyAccess:
    """Passphrase of root keys, and the reason why they cannot be used; outlives the runs.

    A passphrase file that every user can read is used, with one warning. Neither the passphrase nor a decrypted key is
    kept.

    Args:
        passphrase_file: its first line encrypts root keys; None if they are not encrypted.
    """

    def __init__(self, passphrase_file: Path | None) -> None:
        self._passphrase_file = passphrase_file
        self._has_checked_file = False
        self._checked: tuple[bytes | None, ...] = ()
        self._problem: str | None = "not checked yet"

    @property
    def seals(self) -> bool:
        """True if root keys are encrypted: there is a passphrase file, readable or not."""
        return self._passphrase_file is not None

    async def passphrase(self) -> bytes | None:
        """Reads the passphrase.

        Raises:
            StoreError: the file cannot be read.
        """
        if self._passphrase_file is None:
            return None
        passphrase = await trio.to_thread.run_sync(read_passphrase_file, self._passphrase_file, abandon_on_cancel=True)
        if not self._has_checked_file:
            self._has_checked_file = True
            await trio.to_thread.run_sync(check_passphrase_file, self._passphrase_file, abandon_on_cancel=True)
        return passphrase

    async def opened(self, situation: Situation, policy: RenewalPolicy) -> Situation:
        """Returns the situation with the passphrase, or with the reason why it cannot be read."""
        if not policy.keeps_root_key:
            return situation
        try:
            return replace(situation, passphrase=await self.passphrase())
        except StoreError as error:
            return replace(situation, root_key_problem=str(error))

    async def problem(self, stored: Parts, policy: RenewalPolicy, situation: Situation) -> str | None:
        """Returns the reason why root keys cannot be used or kept, or None; logs one that is new.

        Operators see it before a renewal is due. A key that can be used is not read again until it, the issuer or
        the trust anchors change.
        """
        if not policy.keeps_root_key:
            return None
        present = tuple(map(stored.get, (Part.ROOT_KEY, Part.ANCHORS, Part.CHAIN)))
        if self._problem is not None or present != self._checked:
            opened = await self.opened(situation, policy)
            found = await trio.to_thread.run_sync(_problem, stored, policy, opened)
            if found is not None and found != self._problem:
                _log.warning(f"the root key cannot be used to renew the certificate authority: {found}")
            self._checked, self._problem = present, found
        return self._problem


def _problem(stored: Parts, policy: RenewalPolicy, situation: Situation) -> str | None:
    state = read_state(stored, policy, situation.now, is_published=situation.is_published)
    return RootKeys(state, situation).problem()
