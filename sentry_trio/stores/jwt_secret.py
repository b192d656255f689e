"""The JWT signing key and its key set in the Secret of the trust bundle, the key set published in the ConfigMap."""

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from sentry_trio.ca.jwt_key import StoredJwtKey
from sentry_trio.conditions import Conditions
from sentry_trio.errors import InvalidOptionsError, StoreError
from sentry_trio.kube.api import Api
from sentry_trio.kube.retry import PATIENCE, retry
from sentry_trio.reload import Trigger
from sentry_trio.stores.secret_content import has_text, read_parts, with_parts, with_text
from sentry_trio.stores.secret_guard import Guard, Guarded
from sentry_trio.stores.secret_object import SecretObject
from sentry_trio.telemetry.logs import get_logger

_log: Final = get_logger("dapr.sentry.ca")


class JwtSecretStore:
    """A signing key and its key set beside the trust bundle, whose keys are never touched for them.

    Dapr Sentry 1.18 keeps both under the same keys. It makes both anew when either is missing and writes the trust
    bundle again with them, and publishes the key set only when something was generated. Here a key without a key set
    keeps its key, every write is made on the version that it was decided on, and the ConfigMap follows the Secret.

    Failures that may pass are met with further attempts for `patience` seconds, as in `SecretStore`.

    Args:
        api: the API server.
        namespace: where both objects are.
        key: under which key of the Secret the signing key is.
        jwks: under which key of both objects the key set is.
        patience: seconds during which an operation is tried again.
        conditions: `config-map-jwks` and `secret` are set as in `SecretStore`.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        key: str,
        jwks: str,
        *,
        patience: float = PATIENCE,
        conditions: Conditions | None = None,
    ) -> None:
        self._conditions = conditions or Conditions()
        self._key = key
        self._jwks = jwks
        self._secret = SecretObject(api, namespace, "Secret")
        self._config_map = SecretObject(api, namespace, "ConfigMap")
        self._patience = patience

    @property
    def place(self) -> str:
        """Names both for people."""
        return f"key {self._key}, JWKS {self._jwks} in Secret {self._secret.place}"

    async def load(self, compose: Callable[[bytes], bytes]) -> StoredJwtKey | None:
        """Both as they stand; None where neither is there. Nothing is verified.

        Args:
            compose: makes the key set of a key that has none; it is written beside the key.

        Raises:
            StoreError: there is a key set and no key, or the Secret cannot be read or written.
            ApiUnavailableError: the API server could not be asked for `patience` seconds.

        Cancellation: at once.
        """
        return await retry(partial(self._try_to_load, compose), patience=self._patience)

    async def _try_to_load(self, compose: Callable[[bytes], bytes]) -> StoredJwtKey | None:
        secret = await self._secret.get()
        parts = self._parts(secret)
        if self._key not in parts and self._jwks in parts:
            raise StoreError(
                f"there is a JWKS {self._jwks} and no JWT signing key {self._key} in Secret {self._secret.place}: put "
                "the key back, or remove the JWKS to have both generated"
            )
        if self._key in parts and self._jwks not in parts:
            parts[self._jwks] = compose(parts[self._key])
            await self._secret.put(with_parts(secret, parts))
        return self._stored(parts)

    async def create(self, stored: StoredJwtKey) -> StoredJwtKey:
        """Stores both where neither is there, unless another replica is first: then its key is what counts.

        Returns:
            What the Secret holds now.

        Raises:
            StoreError, ApiUnavailableError: as `load`.

        Cancellation: at once; the Secret then holds both or neither.
        """
        return await retry(partial(self._try_to_create, stored), patience=self._patience)

    async def _try_to_create(self, stored: StoredJwtKey) -> StoredJwtKey:
        secret = await self._secret.get()
        present = self._stored(self._parts(secret))
        if present is None:
            await self._secret.put(with_parts(secret, self._named(stored)))
            return stored
        if present != stored:
            _log.info(f"Another replica was first to make a JWT signing key in Secret {self._secret.place}: using it")
        return present

    async def replace(self, stored: StoredJwtKey, *, expected: StoredJwtKey) -> bool:
        """Puts both in the place of others at once, if the Secret holds `expected`.

        Returns:
            Whether it did, or already holds `stored`.

        Raises:
            StoreError, ApiUnavailableError: as `load`.

        Cancellation: at once; the Secret then holds the old ones or the new.
        """
        return await retry(partial(self._try_to_replace, stored, expected), patience=self._patience)

    async def _try_to_replace(self, stored: StoredJwtKey, expected: StoredJwtKey) -> bool:
        secret = await self._secret.get()
        present = self._stored(self._parts(secret))
        if present == expected:
            await self._secret.put(with_parts(secret, self._named(stored)))
            return True
        return present == stored  # an attempt whose answer was lost has done it

    async def publish(self, stored: StoredJwtKey) -> bool:
        """Makes the ConfigMap publish the key set, byte by byte as it is in the Secret; see `SecretStore.publish`.

        Returns:
            Whether the ConfigMap was changed.

        Raises:
            StoreError, ApiUnavailableError: `failed to get` or `failed to update trust bundle configmap: ` and why.

        Cancellation: at once; the ConfigMap then has the key set or not.
        """
        return await retry(partial(self._try_to_publish, stored), patience=self._patience)

    async def _try_to_publish(self, stored: StoredJwtKey) -> bool:
        # In this order, for the reason given in `SecretStore`.
        config_map = await self._config_map.get()
        if has_text(config_map, self._jwks, stored.jwks, what="the public keys"):
            return False
        if self._stored(self._parts(await self._secret.get())) != stored:
            return False
        await self._config_map.put(with_text(config_map, self._jwks, stored.jwks, what="the public keys"))
        return True

    def guarded(self, accepted: StoredJwtKey) -> Guarded:
        """What `SecretStore.watch` is to look at as well: whether both still are those that a run was made of.

        A ConfigMap that no longer has their key set is put right, as long as the Secret holds them.
        """
        guard = Guard(
            self._secret.place,
            "the public keys",
            publish=partial(self._try_to_publish, accepted),
            seen=self._seen,
            config_map=self._conditions.condition("config-map-jwks"),
            secret=self._conditions.condition("secret"),
        )
        return Guarded(guard.look, _fingerprint(accepted), Trigger.JWT_KEY)

    async def _seen(self) -> str:
        return _fingerprint(self._stored(self._parts(await self._secret.get())))

    def _parts(self, secret: Mapping[str, Any]) -> dict[str, bytes]:
        return read_parts(secret, (self._key, self._jwks), place=self._secret.place)

    def _named(self, stored: StoredJwtKey) -> dict[str, bytes]:
        return {self._key: stored.key, self._jwks: stored.jwks}

    def _stored(self, parts: Mapping[str, bytes]) -> StoredJwtKey | None:
        """None where either is missing."""
        key, jwks = parts.get(self._key), parts.get(self._jwks)
        return None if key is None or jwks is None else StoredJwtKey(key, jwks)


def keys_of_paths(key: Path, jwks: Path, *, taken: tuple[str, ...]) -> tuple[str, str]:
    """The Secret's keys: the base names of the paths that options name.

    Args:
        key: of the signing key.
        jwks: of the key set.
        taken: keys of the trust bundle.

    Raises:
        InvalidOptionsError: two would be one.
    """
    names = (key.name, jwks.name)
    if len({*names, *taken}) < len(names) + len(taken):
        raise InvalidOptionsError(
            "in kubernetes mode the base names of JWT key and JWKS file are the Secret's keys and must differ from "
            f"each other and from {', '.join(taken)}, got {', '.join(names)}"
        )
    return names


def _fingerprint(stored: StoredJwtKey | None) -> str:
    """Tells them apart without holding them."""
    if stored is None:
        return "none"
    return "sha256: " + " ".join(sha256(part).hexdigest() for part in (stored.key, stored.jwks))
