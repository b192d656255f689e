"""The part of a run in standalone mode that issues JWTs; imported only where they are asked for."""

from functools import partial
from pathlib import Path
from typing import Final

from sentry_trio.ca.jwt import JwtIssuer
from sentry_trio.ca.jwt_key import JwtKey, StoredJwtKey, compose_jwks, generate_jwt_key, verify_jwt_key
from sentry_trio.errors import InvalidBundleError, StoreError
from sentry_trio.settings.configuration import Configuration
from sentry_trio.settings.options import Options
from sentry_trio.stores.jwt_files import JwtFileStore
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.watchers.content import ContentTracker

_log: Final = get_logger("dapr.sentry.ca")


class JwtFiles:
    """Signing key and key set in files.

    Args:
        options: name the files, the algorithm and the key ID.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._store = JwtFileStore(options.jwt_key_path, options.jwks_path)

    @property
    def paths(self) -> tuple[Path, Path]:
        """What is to be watched."""
        return self._store.key, self._store.jwks

    async def issuer(self, configuration: Configuration, tracker: ContentTracker, *, may_generate: bool) -> JwtIssuer:
        """Reads both files, or makes them where there are none.

        Args:
            configuration: tells the clock skew.
            tracker: told of what is written.
            may_generate: see `Environment.ingredients`.

        Raises:
            StoreError: a file cannot be read or written, one is missing, or both are and may not be made.
            InvalidBundleError: they do not fit each other or the algorithm.

        Cancellation: at once, but for a write.
        """
        options = self._options
        compose = partial(compose_jwks, algorithm=options.jwt_signing_algorithm, key_id=options.jwt_key_id)
        stored = await self._store.load(compose)
        if stored is not None:
            _log.info("JWT signing key found: using it from store")
            tracker.accept(self._store.contents(stored))
        elif may_generate:
            stored = await self._generated(tracker)
        else:
            raise StoreError(
                f"the JWT signing key is gone from {self._store.key}: none is generated in its place while one is in "
                "use; restore the file, or restart the process to begin with a new one"
            )
        return JwtIssuer(
            self._verified(stored),
            issuer=options.jwt_issuer,
            lifetime=options.jwt_ttl,
            allowed_clock_skew=configuration.allowed_clock_skew,
        )

    async def _generated(self, tracker: ContentTracker) -> StoredJwtKey:
        _log.info("JWT signing key not found: generating one")
        stored = generate_jwt_key(self._options.jwt_signing_algorithm, self._options.jwt_key_id)
        async with tracker.own_write(self._store.contents(stored)):
            await self._store.save(stored)
        return stored

    def _verified(self, stored: StoredJwtKey) -> JwtKey:
        try:
            return verify_jwt_key(stored, self._options.jwt_signing_algorithm, self._options.jwt_key_id)
        except InvalidBundleError as error:
            raise InvalidBundleError(f"{error} (key {self._store.key}, JWKS {self._store.jwks})") from error
