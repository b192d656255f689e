"""The trust bundle in a Secret, its trust anchors published in a ConfigMap: where kubernetes mode keeps it."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Final, NoReturn

import trio

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.pem import tidy
from sentry_trio.conditions import Conditions
from sentry_trio.kube.api import Api
from sentry_trio.kube.object_watch import watch_objects
from sentry_trio.kube.retry import PATIENCE, retry
from sentry_trio.reload import Changed, ReloadCause, Trigger
from sentry_trio.stores.secret_content import (
    Keys,
    check_nothing_foreign,
    has_anchors,
    publishes_anchors,
    read_bundle,
    with_anchors,
    with_bundle,
)
from sentry_trio.stores.secret_guard import Guard, Guarded
from sentry_trio.stores.secret_object import SecretObject
from sentry_trio.telemetry.logs import get_logger

_log: Final = get_logger("dapr.sentry.ca")


class SecretStore:
    """Trust anchors, issuer chain and issuer key in one Secret, and the anchors in a ConfigMap of the same name.

    Dapr Sentry 1.18 keeps the same bundle under the same keys, so that either may take over from the other. It
    replaces the whole certificate authority when a key is missing or the ConfigMap differs by a byte, and of several
    replicas that start at once each may go on with a bundle of its own. Here only a Secret without any of the three
    keys counts as empty, every write is made on the version that it was decided on, and the ConfigMap follows the
    Secret, never the other way round.

    Failures that may pass are met with further attempts for `patience` seconds; what is raised then is
    ApiUnavailableError, with the same beginnings as the StoreErrors.

    Args:
        api: the API server.
        namespace: where both objects are.
        keys: under which keys the three parts are.
        beside: other keys of the Secret that are Dapr Sentry's, those of JWTs.
        patience: seconds during which an operation is tried again.
        conditions: `config-map` and `secret` are set while `watch` cannot repair the one or read the other.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        keys: Keys,
        *,
        beside: Collection[str] = (),
        patience: float = PATIENCE,
        conditions: Conditions | None = None,
    ) -> None:
        self._api = api
        self._keys = keys
        self._beside = beside
        self._conditions = conditions or Conditions()
        self._secret = SecretObject(api, namespace, "Secret")
        self._config_map = SecretObject(api, namespace, "ConfigMap")
        self._patience = patience

    @property
    def place(self) -> str:
        """Namespace and name of both objects, e.g. `dapr-system/dapr-trust-bundle`."""
        return self._secret.place

    # --- reading

    async def load(self) -> StoredBundle | None:
        """Reads the trust bundle as it stands; nothing is verified. The ConfigMap is not looked at: see `publish`.

        Returns:
            The raw bytes, or None where the Secret holds none of the three keys.

        Raises:
            IncompleteBundleError: it holds some of them; the text names them, the Secret and the remedy.
            ForeignKeysError: it holds none of them, but other certificates or private keys.
            StoreError: `failed to get trust bundle secret: ` and why: there is no Secret, or no right to it.
            ApiUnavailableError: the API server could not be asked for `patience` seconds.

        Cancellation: at once.
        """
        return self._bundle_or_empty(await retry(self._secret.get, patience=self._patience))

    # --- writing

    async def create(self, bundle: StoredBundle) -> StoredBundle:
        """Fills the empty Secret, unless another replica is first: then its trust bundle is what counts.

        Any number of replicas may do this at once: the write is made on the version of the Secret that was found to be
        empty, so that the API server takes one of them, and the others read what it wrote. Where it is unclear whether
        a write was done, because its answer was lost, the Secret is read again before another one. The ConfigMap is
        left alone, with a warning where it has anchors whose keys are lost; verify what is returned, then `publish` it.

        Args:
            bundle: what to store.

        Returns:
            What the Secret holds now: `bundle`, or another replica's.

        Raises:
            IncompleteBundleError, StoreError, ApiUnavailableError: as `load`; also `failed to update trust bundle
                secret: ` and why, and that the ConfigMap is missing, before anything is written.

        Cancellation: at once; the Secret then holds all of the bundle or nothing of it.
        """
        # In this order, as in `_try_to_publish`: anchors found here beside an empty Secret are nobody's any more.
        config_map = await retry(self._config_map.get, patience=self._patience)
        stored = await retry(partial(self._try_to_create, bundle), patience=self._patience)
        if stored == bundle and publishes_anchors(config_map, self._keys):
            _log.warning(
                f"Secret {self.place} was empty although the ConfigMap has trust anchors: these are given up for those "
                "of the new certificate authority, and certificates issued under them are not trusted any more"
            )
        return stored

    async def _try_to_create(self, bundle: StoredBundle) -> StoredBundle:
        secret = await self._secret.get()
        present = self._bundle_or_empty(secret)
        if present is None:
            await self._secret.put(with_bundle(secret, self._keys, bundle))
            return bundle
        if present != bundle:
            _log.info(f"Another replica was first to fill Secret {self.place}: using its trust bundle")
        return present

    async def publish(self, bundle: StoredBundle) -> bool:
        """Makes the ConfigMap publish the trust anchors of a verified bundle, byte by byte as they are in the Secret.

        Anchors that Go would not read there, such as one behind a byte order mark, are published as `tidy` returns
        them, so that all components read what this authority reads.

        Nothing is written where they are there already, nor once the Secret holds another bundle: that one's anchors
        count, and whoever wrote it publishes them.

        Args:
            bundle: what the Secret holds; verified.

        Returns:
            Whether the ConfigMap was changed.

        Raises:
            StoreError: `failed to get` or `failed to update trust bundle configmap: ` and why.
            ApiUnavailableError: likewise, after `patience` seconds.

        Cancellation: at once; the ConfigMap then has the anchors or not.
        """
        return await retry(partial(self._try_to_publish, bundle), patience=self._patience)

    async def _try_to_publish(self, bundle: StoredBundle) -> bool:
        # In this order: a writer puts the Secret first. So a ConfigMap newer than the Secret read here is never seen,
        # and one that changes from here on makes the write below fail.
        config_map = await self._config_map.get()
        if has_anchors(config_map, self._keys, tidy(bundle.anchors)):
            return False
        if self._bundle(await self._secret.get()) != bundle:
            return False
        await self._config_map.put(with_anchors(config_map, self._keys, tidy(bundle.anchors)))
        return True

    # --- watching

    async def watch(
        self,
        accepted: StoredBundle,
        changed: Changed,
        *,
        beside: Sequence[Guarded] = (),
        publish: bool = True,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Calls `changed` whenever the Secret holds another trust bundle than `accepted`; runs until cancelled.

        Both objects are watched by their names, and content decides: edits of other keys, labels and what this process
        wrote itself are none of its business. A ConfigMap that no longer has the anchors of `accepted` is put right
        and that is logged, as long as the Secret holds `accepted`. `watch_objects`
        says what happens when watches are cut.

        Args:
            accepted: the verified bundle that the run was made of; changes since it was loaded are told.
            changed: called once per change with its causes, also if the bundle is incomplete or gone. May raise
                ApiUnavailableError to be called again after a pause; anything else ends the watch.
            beside: what else of both objects is watched in the same way.
            publish: false for a bundle that is not in use: the ConfigMap is left alone.
            task_status: started when both watches stand or were tried.

        Raises:
            Whatever else `changed` raises, in an exception group.

        Cancellation: at once.
        """
        guard = Guard(
            self.place,
            "the trust anchors",
            publish=partial(self._try_to_publish, accepted) if publish else _publish_nothing,
            seen=self._seen,
            config_map=self._conditions.condition("config-map"),
            secret=self._conditions.condition("secret"),
        )
        watched = (Guarded(guard.look, _fingerprint(accepted), Trigger.TRUST_BUNDLE), *beside)
        reported = present = tuple(each.known for each in watched)

        async def look() -> tuple[str, ...]:
            nonlocal present
            present = tuple([await each.look() for each in watched])
            return present

        async def report() -> None:
            nonlocal reported
            seen = present
            causes = [
                ReloadCause(each.trigger, (f"Secret {self.place}",))
                for each, before, now in zip(watched, reported, seen, strict=True)
                if before != now
            ]
            await changed(*causes)
            reported = seen

        await watch_objects(
            self._api,
            (self._secret.followed, self._config_map.followed),
            look=look,
            known=reported,
            changed=report,
            task_status=task_status,
        )

    async def _seen(self) -> str:
        """What `watch` compares."""
        return _fingerprint(self._bundle(await self._secret.get()))

    def _bundle_or_empty(self, secret: Mapping[str, Any]) -> StoredBundle | None:
        """The trust bundle; None if one may be generated."""
        bundle = self._bundle(secret)
        if bundle is None:
            check_nothing_foreign(secret, self._keys, beside=self._beside, place=self.place)
        return bundle

    def _bundle(self, secret: Mapping[str, Any]) -> StoredBundle | None:
        return read_bundle(secret, self._keys, place=self.place)


async def _publish_nothing() -> bool:
    return False


def _fingerprint(bundle: StoredBundle | None) -> str:
    """Tells bundles apart without holding them."""
    if bundle is None:
        return "empty"
    parts = (bundle.anchors, bundle.chain, bundle.key)
    return "sha256: " + " ".join(sha256(part).hexdigest() for part in parts)
