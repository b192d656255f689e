"""An API server on an etcd that cannot report the progress of watches: changes are still noticed at once."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sentry_trio.ca.parts import bundle_parts
from sentry_trio.errors import ApiUnavailableError, InvalidConfigurationError
from sentry_trio.stores.configuration_object import read_configuration_object
from testkit.cluster import binaries
from testkit.cluster.cluster import Cluster, running
from testkit.cluster.faults import faulty
from testkit.cluster.installing import install
from testkit.crashing import NEW, OLD
from testkit.go_modules import UnavailableError
from testkit.stores import publish

from .test_secret import beside, parts_of, store_over


@pytest.fixture(scope="module")
def old_cluster() -> Iterator[Cluster]:
    """A control plane with an old etcd."""
    try:
        built = binaries.with_old_etcd(binaries.build())
    except UnavailableError as error:
        pytest.skip(str(error))
    with running(built) as started:
        yield started


async def test_a_cluster_without_daprs_definitions_is_an_error(old_cluster: Cluster, tmp_path: Path) -> None:
    """No test defines them in this cluster."""
    namespace = await old_cluster.create_namespace()
    installation = await install(old_cluster, namespace, tmp_path)
    async with installation.session() as session:
        with pytest.raises(InvalidConfigurationError, match=r"configurations\.dapr\.io is not installed$"):
            await read_configuration_object(session, namespace, "")
        await old_cluster.define_configurations()
        with pytest.raises(
            InvalidConfigurationError, match=f"there is no Configuration {namespace}/daprsystem; create"
        ):
            await read_configuration_object(session, namespace, "")


async def test_watches_last_and_changes_are_seen_at_once(old_cluster: Cluster, tmp_path: Path) -> None:
    namespace = await old_cluster.create_namespace()
    installation = await install(old_cluster, namespace, tmp_path)
    await installation.write(parts_of(OLD))
    # Another object is written and no watched one, so the caches of the watched ones cannot catch up.
    await old_cluster.create_service_account(namespace, "another")
    async with faulty(old_cluster) as faults, installation.session(url=faults.url) as session:
        store = store_over(session, installation)
        await publish(store, OLD)

        async with beside(partial(store.watch, bundle_parts(OLD))) as reported:
            # The fault, which takes 3 s to show: a watch of the same object without a version.
            with pytest.raises(ApiUnavailableError, match=r"504 Timeout: .*Too large resource version"):
                async with session.watch(
                    f"/api/v1/namespaces/{namespace}/secrets",
                    {"fieldSelector": "metadata.name=dapr-trust-bundle"},
                ) as events:
                    await anext(events)
            assert faults.count(r"GET .*/configmaps\?.*watch=true") == 1
            assert faults.count(r"GET .*/secrets\?.*resourceVersion=0.*watch=true") == 1
            await installation.write(parts_of(NEW))
            await reported.called()
