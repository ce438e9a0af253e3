"""What a program does through lightkube, and what it gets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from lightkube import AsyncClient, Client, KubeConfig
from lightkube.codecs import from_dict
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment, StatefulSet
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod, Secret, Service
from lightkube.types import PatchType

from tests.blackbox.conftest import Place, Sandbox, eventually, fetch

MANAGER = "blackbox"
OPERATOR = "tailscale"


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = Client(config=KubeConfig.from_file(sandbox.kubeconfig).get(), field_manager=MANAGER)
    yield client
    client.close()


@pytest.fixture
async def async_client(sandbox: Sandbox, anyio_backend: str) -> AsyncIterator[AsyncClient]:
    client = AsyncClient(config=KubeConfig.from_file(sandbox.kubeconfig).get(), field_manager=MANAGER)
    yield client
    await client.close()


def bring_up(client: Client, place: Place) -> None:
    """The application of a place, exposed and ready."""
    for document in place.manifests():
        client.apply(from_dict(document))
    wait_ready(client, place)


def wait_ready(client: Client, place: Place) -> None:
    client.wait(Service, place.name, namespace=place.namespace, for_conditions=["Ready"])


def condition(client: Client, place: Place, kind: str) -> Any:
    service = client.get(Service, place.name, namespace=place.namespace)
    found = service.status.conditions if service.status else None
    return next((c for c in found or () if c.type == kind), None)


def children(client: Client, place: Place) -> list[Any]:
    labels: Any = {"tailscale.com/parent-resource-ns": place.namespace}
    return [
        one
        for kind in (StatefulSet, Secret, Pod)
        for one in client.list(kind, namespace=OPERATOR, labels=labels)
    ]


def test_apply_and_ask(client: Client, sandbox: Sandbox, place: Place) -> None:
    """What is applied becomes ready, and its device answers."""
    bring_up(client, place)
    told = condition(client, place, "Ready").message
    device = sandbox.devices()[place.hostname]
    assert told == f"http://{device['fqdn']}:{place.port}"
    assert "pod: web-" in fetch(f"http://{device['addresses'][0]}:{place.port}/")


def test_apply_again_changes_nothing(client: Client, place: Place) -> None:
    """Server-side apply of the same manifest leaves the version as it was."""
    for document in place.manifests():
        client.apply(from_dict(document))
    wait_ready(client, place)

    def apply() -> str | None:
        metadata = client.apply(from_dict(place.service())).metadata
        assert metadata is not None
        return metadata.resourceVersion

    assert apply() == apply()


def test_lists_with_selectors(client: Client, place: Place) -> None:
    """Labels and fields select; a list that comes in chunks is whole."""
    bring_up(client, place)

    def names(**selectors: Any) -> list[str]:
        found: Any = client.list(Service, namespace=place.namespace, **selectors)
        return [service.metadata.name for service in found]

    assert names(labels={"app": place.name}) == [place.name]
    assert names(labels={"app": ("other", place.name)}) == [place.name]
    assert names(labels={"app": "other"}) == []
    assert names(fields={"metadata.name": place.name}) == [place.name]
    assert names(fields={"metadata.name": "other"}) == []
    services: Any = client.list(Service, namespace="*", chunk_size=3)
    everywhere = [service.metadata.uid for service in services]
    assert len(everywhere) == len(set(everywhere)) > 10


@pytest.mark.parametrize("kind", [PatchType.MERGE, PatchType.STRATEGIC, PatchType.JSON, PatchType.APPLY])
def test_patch_renames_the_device(client: Client, sandbox: Sandbox, place: Place, kind: PatchType) -> None:
    """Each kind of patch changes the hostname, and the device is renamed."""
    bring_up(client, place)
    name, annotation = f"new-{place.namespace}", "tailscale.com/hostname"
    body: Any = {"metadata": {"annotations": {annotation: name}}}
    if kind is PatchType.JSON:
        body = [{"op": "replace", "path": "/metadata/annotations/tailscale.com~1hostname", "value": name}]
    if kind is PatchType.APPLY:
        body = place.service(**{annotation: name})
    client.patch(Service, place.name, body, namespace=place.namespace, patch_type=kind)
    eventually(lambda: name in sandbox.devices(), f"a device {name}")
    assert place.hostname not in sandbox.devices()


def test_unexpose_and_delete_leave_nothing(client: Client, sandbox: Sandbox, place: Place) -> None:
    """Without the annotation, and without the Service, there is no device and no proxy."""
    bring_up(client, place)
    annotation = "tailscale.com/expose"
    off: Any = {annotation: None}
    client.set(Service, place.name, namespace=place.namespace, annotations=off)
    eventually(lambda: not children(client, place), "no proxy without the annotation")
    client.set(Service, place.name, namespace=place.namespace, annotations={annotation: "true"})
    wait_ready(client, place)
    client.delete(Service, place.name, namespace=place.namespace)
    eventually(lambda: not children(client, place), "no proxy")
    assert place.hostname not in sandbox.devices()
    with pytest.raises(ApiError) as gone:
        client.get(Service, place.name, namespace=place.namespace)
    assert gone.value.status.reason == "NotFound"


def test_managers_conflict(client: Client, place: Place) -> None:
    """A field that another manager applied is a conflict; force takes it."""
    client.apply(from_dict(place.namespace_document()))
    client.apply(from_dict(place.service()), field_manager="first")
    wanted = from_dict(place.service(**{"tailscale.com/hostname": "second"}))
    with pytest.raises(ApiError, match='conflict with "first"') as refused:
        client.apply(wanted, field_manager="second")
    assert refused.value.status.code == 409
    client.apply(wanted, field_manager="second", force=True)
    metadata = client.get(Service, place.name, namespace=place.namespace).metadata
    assert metadata is not None
    owners = {entry.manager for entry in metadata.managedFields or ()}
    assert {"first", "second"} <= owners


def test_create_replace_dry_run(client: Client, place: Place) -> None:
    """A stale replacement is refused, a dry run changes nothing, a second create is `AlreadyExists`."""
    client.apply(from_dict(place.namespace_document()))
    first = client.create(settings(place))
    with pytest.raises(ApiError, match="already exists"):
        client.create(settings(place))
    first.data = {"a": "c"}
    client.replace(first, dry_run=True)
    assert client.get(ConfigMap, "settings", namespace=place.namespace).data == {"a": "b"}
    client.replace(first)
    with pytest.raises(ApiError) as stale:
        client.replace(first)
    assert stale.value.status.reason == "Conflict"
    client.deletecollection(ConfigMap, namespace=place.namespace)
    left = {c.metadata.name for c in client.list(ConfigMap, namespace=place.namespace) if c.metadata}
    assert "settings" not in left


def settings(place: Place) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name="settings", namespace=place.namespace), data={"a": "b"})


def test_scale_and_logs(client: Client, place: Place) -> None:
    """The scale subresource gives more pods; a proxy's log can be read."""
    bring_up(client, place)
    client.patch(Deployment.Scale, place.name, {"spec": {"replicas": 2}}, namespace=place.namespace)
    eventually(lambda: len(list(client.list(Pod, namespace=place.namespace))) == 2, "two pods")
    [proxy] = [one for one in children(client, place) if isinstance(one, Pod)]
    log: Any = client.log  # has no types of its own
    assert proxy.metadata is not None
    assert list(log(proxy.metadata.name, namespace=OPERATOR))


def test_a_deleted_namespace_takes_its_devices(client: Client, sandbox: Sandbox, place: Place) -> None:
    """A namespace is gone when the devices of its Services are."""
    bring_up(client, place)
    client.delete(Namespace, place.namespace)

    def gone() -> bool:
        return place.namespace not in {n.metadata.name for n in client.list(Namespace) if n.metadata}

    eventually(gone, "the namespace is gone")
    assert place.hostname not in sandbox.devices()


@pytest.mark.anyio
async def test_watch_sees_it_become_ready(async_client: AsyncClient, place: Place) -> None:
    """A watch tells of the Service from its creation to its readiness, and of its end."""
    for document in place.manifests():
        await async_client.apply(from_dict(document))
    seen: list[str] = []
    async for operation, service in async_client.watch(Service, namespace=place.namespace):
        found = service.status.conditions if service.status else None
        if operation == "DELETED":
            seen.append("gone")
            break
        if any(c.type == "Ready" and c.status == "True" for c in found or ()) and "ready" not in seen:
            seen.append("ready")
            await async_client.delete(Service, place.name, namespace=place.namespace)
    assert seen == ["ready", "gone"]
