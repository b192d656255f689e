"""Store of Kubernetes mode: a key of the Secret per part, and a ConfigMap that publishes some of them."""

from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, Final, NoReturn

import trio

from sentry_trio.ca.parts import BUNDLE, RENEWAL, Changes, Parts
from sentry_trio.conditions import Conditions
from sentry_trio.errors import ApiUnavailableError, Part, StoreError
from sentry_trio.kube.api import Api
from sentry_trio.kube.object_watch import watch_objects
from sentry_trio.kube.retry import retry
from sentry_trio.stores.secret_content import (
    PUBLISHED,
    Names,
    check_nothing_foreign,
    data_of,
    managed_by,
    published_text,
    read_bundle,
    read_parts,
    with_changes,
    with_text,
)
from sentry_trio.stores.secret_object import SecretObject
from sentry_trio.stores.secret_watch import ConfigMapSync, SecretWatch
from sentry_trio.telemetry.logs import get_logger

_PUT_TIMEOUT: Final = 25.0  # s for two writes, each of which has a shorter deadline of its own

_log: Final = get_logger("dapr.sentry.ca")


class SecretStore:
    """Parts in one Secret, of which a ConfigMap of the same name publishes trust anchors and JWKS; see `PartStore`.

    Dapr Sentry 1.18 keeps the same parts under the same keys, so that either may take over from the other. It replaces
    the whole certificate authority if a key is missing or the ConfigMap differs by a byte, and of several replicas that
    start at once each may use a bundle of its own. Here only a Secret without any of the trust bundle's keys
    counts as empty, every write is made on the version that it was decided on, and the ConfigMap follows the Secret,
    never the other way round.

    Failures that may pass are met with further attempts for `PATIENCE` seconds (see `retry`); then ApiUnavailableError
    is raised, with the same beginnings as the StoreErrors.

    Cancellation: all operations at once; a change is then written as a whole or not at all.

    Args:
        api: the API server.
        namespace: namespace of both objects.
        names: key of each part.
        withdrawn: parts that the ConfigMap does not publish, although it could.
        conditions: `config-map`, `config-map-jwks` and `secret` are set while `watch` cannot repair or read them.

    Attributes:
        place: the Secret, e.g. `Secret dapr-system/dapr-trust-bundle`.
        config_map: the ConfigMap, likewise.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        names: Names,
        *,
        withdrawn: Collection[Part] = (),
        conditions: Conditions | None = None,
    ) -> None:
        self._api = api
        self._names = names
        self._withdrawn = withdrawn
        self._conditions = conditions or Conditions()
        self._secret = SecretObject(api, namespace, "Secret")
        self._config_map = SecretObject(api, namespace, "ConfigMap")
        self.place = f"Secret {self._secret.place}"
        self.config_map = f"ConfigMap {self._config_map.place}"

    def locate(self, *parts: Part) -> str:
        """See `PartStore.locate`."""
        return f"{', '.join(f'{part.value} {self._names[part]}' for part in parts)} in {self.place}"

    def sources(self, parts: Collection[Part]) -> tuple[str, ...]:
        """See `PartStore.sources`."""
        return (self.place,) if parts else ()

    # --- reading

    async def read(self, parts: Collection[Part]) -> Parts:
        """Reads parts; see `PartStore.read`. The ConfigMap is not read: see `publish`.

        Raises:
            StoreError: `failed to get trust bundle secret: ` and why: there is no Secret, or no permission to read it.
            ApiUnavailableError: the API server was unavailable for `PATIENCE` seconds.
        """
        return self._parts(await retry(self._secret.get), parts)

    async def read_bundle(self) -> Parts:
        """Reads the trust bundle; see `PartStore.read_bundle`.

        Raises:
            IncompleteBundleError: some of its keys are missing; the text names them, the Secret and the remedy.
            StoreError: as `read`; also if none of its keys is there, but other certificates or private keys are.
            ApiUnavailableError: as `read`.
        """
        secret = await retry(self._secret.get)
        return read_bundle(secret, self._names, place=self._secret.place)

    def _parts(self, secret: dict[str, Any], parts: Collection[Part]) -> dict[Part, bytes]:
        return read_parts(secret, {part: self._names[part] for part in parts}, place=self._secret.place)

    # --- writing

    async def replace(self, changes: Changes, *, expected: Changes) -> bool:
        """Replaces parts by one write; see `PartStore.replace`.

        Any number of replicas may do this at once: the write is made on the version of the Secret that was compared, so
        the API server takes one of them. If it is unclear whether a write was done, because its answer was lost, the
        Secret is read again before another one.

        If trust anchors change, the ConfigMap follows at once, by a second write that was prepared before the first: a
        Dapr Sentry that starts in between makes a new certificate authority. Failures of that write are logged;
        `watch` and `publish` repair the ConfigMap.

        For the first trust bundle the ConfigMap is left unchanged, with a warning if it publishes anchors,
        whose keys are then lost.

        Raises:
            StoreError, ApiUnavailableError: as `read`; also `failed to update trust bundle secret: ` and why, and, for
                trust anchors, that the ConfigMap is missing or immutable, before anything is written.

        Cancellation: at once, but not between the two writes.
        """
        is_new_bundle = Part.ANCHORS in changes and all(expected.get(part, b"") is None for part in BUNDLE)
        attempt = partial(self._try_to_replace, changes, expected, is_new_bundle=is_new_bundle)
        if not is_new_bundle:
            return await retry(attempt)
        # In this order, as in `_try_to_publish`: anchors found here beside an empty Secret are no longer in use.
        config_map = await retry(self._config_map.get)
        text = published_text(Part.ANCHORS, changes[Part.ANCHORS] or b"")
        done = await retry(attempt)
        if done and data_of(config_map).get(self._names[Part.ANCHORS]) not in {None, "", text}:
            _log.warning(
                f"{self.place} was empty although the ConfigMap has trust anchors: they are replaced by those "
                "of the new certificate authority, and certificates issued under them are no longer trusted"
            )
        return done

    async def _try_to_replace(self, changes: Changes, expected: Changes, *, is_new_bundle: bool) -> bool:
        anchors = None if is_new_bundle else changes.get(Part.ANCHORS)
        config_map = None if anchors is None else await self._with_anchors(anchors)
        secret = await self._secret.get()
        present = self._parts(secret, {*changes, *expected})
        if all(present.get(part) == content for part, content in changes.items()):
            return True  # an attempt whose answer was lost has done it
        if any(present.get(part) != content for part, content in expected.items()):
            return False
        if is_new_bundle:
            check_nothing_foreign(secret, self._names, place=self._secret.place)
        body = with_changes(secret, self._names, changes)
        if config_map is None or present.get(Part.ANCHORS) == anchors:
            await self._secret.put(body)
        else:
            await self._put_both(body, config_map)
        return True

    async def _with_anchors(self, anchors: bytes) -> dict[str, Any]:
        text, name = published_text(Part.ANCHORS, anchors), self._names[Part.ANCHORS]
        config_map = await self._config_map.get()
        # Before the Secret is written: a process that cannot publish its anchors does not start.
        if config_map.get("immutable") and data_of(config_map).get(name) != text:
            raise StoreError(f"failed to update trust bundle configmap: {self._config_map.immutable_reason()}")
        return with_text(config_map, name, text)

    async def _put_both(self, secret: dict[str, Any], config_map: dict[str, Any]) -> None:
        with trio.move_on_after(_PUT_TIMEOUT, shield=True) as scope:
            await self._secret.put(secret)
            try:
                await self._config_map.put(config_map)
            except (StoreError, ApiUnavailableError) as error:
                _log.warning(f"{self.place} has new trust anchors, but {self.config_map} not yet: {error}")
        if scope.cancelled_caught:
            raise ApiUnavailableError(f"failed to update trust bundle secret: no answer within {_PUT_TIMEOUT:g} s")

    async def read_only_reason(self) -> str | None:
        """See `PartStore.read_only_reason`."""
        for held, place in ((self._secret, self.place), (self._config_map, self.config_map)):
            if (await retry(held.get)).get("immutable"):
                return f"{place} is immutable"
        return None

    async def managed_by(self) -> str | None:
        """Returns the program or chart that writes the Secret, as its annotations and owners say; None if none does.

        Raises:
            StoreError, ApiUnavailableError: as `read`.
        """
        return managed_by(await retry(self._secret.get))

    async def publish(self, part: Part, stored: Parts) -> bool:
        """Makes the ConfigMap publish a part of a verified set, byte by byte as it is in the Secret.

        Trust anchors that Go would not read there, such as one behind a byte order mark, are published as `tidy`
        returns them, so that all components read what this authority reads. A withdrawn part is removed.

        Nothing is written if they are there already, nor once the Secret holds another set: then that one counts, and
        the process that wrote it publishes it.

        Args:
            part: one of `PUBLISHED`.
            stored: contents of the Secret, verified.

        Returns:
            True if the ConfigMap was changed.

        Raises:
            StoreError: `failed to get` or `failed to update trust bundle configmap: ` and why.
            ApiUnavailableError: likewise, after `PATIENCE` seconds.
        """
        return await retry(partial(self._try_to_publish, part, stored))

    async def publishes(self, part: Part, stored: Parts) -> bool:
        """Returns whether the ConfigMap publishes a part as it is in the Secret; nothing is written.

        Raises:
            StoreError, ApiUnavailableError: as `publish`.
        """
        config_map = await retry(self._config_map.get)
        return bool(data_of(config_map).get(self._names[part]) == self._text_of(part, stored))

    async def _try_to_publish(self, part: Part, stored: Parts) -> bool:
        published, text = PUBLISHED[part], self._text_of(part, stored)
        # In this order: a writer puts the Secret first. So a ConfigMap newer than the Secret read here is never seen,
        # and one that changes from here on makes the write below fail.
        config_map = await self._config_map.get()
        if data_of(config_map).get(self._names[part]) == text:
            return False
        expected = {each: stored[each] for each in published.with_parts}
        if self._parts(await self._secret.get(), expected) != expected:
            return False
        await self._config_map.put(with_text(config_map, self._names[part], text))
        return True

    def _text_of(self, part: Part, stored: Parts) -> str | None:
        return None if part in self._withdrawn else published_text(part, stored[part])

    # --- watching

    async def watch(
        self,
        accepted: Parts,
        changed: Callable[[frozenset[Part]], Awaitable[None]],
        *,
        publish: bool = True,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Calls `changed` whenever the Secret holds other parts than those accepted; runs until cancelled.

        Of a trust bundle, the parts that its renewal keeps are watched, too, also those that are not stored.

        Both objects are watched by their names, and content decides: edits of other keys, labels and what this process
        wrote itself are ignored. A ConfigMap that no longer publishes an accepted part is repaired and that is logged,
        as long as the Secret holds the accepted set. One that publishes a withdrawn part again is left alone until the
        next `publish`: this process has no part in it. See `watch_objects` for what happens when watches are cut.

        Args:
            accepted: the verified parts that the run was made of; changes since they were read are reported.
            changed: called once per change with the parts that differ, also if they are incomplete or gone. May raise
                ApiUnavailableError to be called again after a pause; anything else ends the watch.
            publish: false for parts that are not in use: the ConfigMap is left alone.
            task_status: started when both watches are established or were tried.

        Raises:
            Whatever else `changed` raises, in an exception group.
        """
        syncs = [
            ConfigMapSync(
                self._secret.place,
                each.what,
                partial(self._try_to_publish, part, accepted),
                self._conditions.condition(each.condition),
            )
            for part, each in PUBLISHED.items()
            if publish and part in accepted and part not in self._withdrawn
        ]
        watched = {*accepted, *(RENEWAL if Part.ANCHORS in accepted else ())}
        names = {part: name for part, name in self._names.items() if part in watched}
        watch = SecretWatch(self._secret, names, accepted, syncs=syncs, conditions=self._conditions)
        await watch_objects(
            self._api,
            (self._secret.watched, self._config_map.watched),
            look=watch.look,
            known=watch.present,
            changed=partial(watch.report, changed),
            task_status=task_status,
        )
