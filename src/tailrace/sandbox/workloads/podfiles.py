"""What a container sees when it starts: its environment and its mounted files.

Pure: a pod and a way to read Secrets and ConfigMaps in, values out, as the kubelet would make them. `kubelet` decides
when (and how late) this is asked again.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Doc = Mapping[str, Any]
Read = Callable[[str, str], Doc | None]
"""(kind, name) → the Secret or ConfigMap of the pod's namespace, or None."""

Files = Mapping[str, bytes]  # absolute path → contents


class MissingSource(Exception):
    """A Secret, ConfigMap or key that the pod needs is not there; the container cannot start yet."""


class Unmountable(MissingSource):
    """The same for a volume: the pod stays in ContainerCreating."""


_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` becomes its value, `$$(NAME)` the text `$(NAME)`; an unknown name stays as it is."""

    def replace(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        return known.get(found[2], found[0])

    return _REFERENCE.sub(replace, text)


def build_environment(pod: Doc, container: Doc, read: Read, *, base: Mapping[str, str]) -> dict[str, str]:
    """The container's environment; `base` is what the kubelet adds (service variables)."""
    env = dict(base)
    for source in container.get("envFrom") or ():
        env.update(_all_of(source, read))
    for entry in container.get("env") or ():
        value = _value_from(pod, container, entry["valueFrom"], read) if "valueFrom" in entry else None
        if "valueFrom" not in entry:
            value = expand(entry.get("value") or "", env)
        if value is not None:
            env[entry["name"]] = value
    return env


def _all_of(source: Doc, read: Read) -> Iterator[tuple[str, str]]:
    prefix = source.get("prefix", "")
    for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
        if (reference := source.get(field)) is None:
            continue
        found = read(kind, reference["name"])
        if found is None:
            if reference.get("optional"):
                continue
            raise MissingSource(f'{kind.lower()} "{reference["name"]}" not found')
        for key, value in contents(found).items():
            yield prefix + key, value.decode(errors="replace")


def _value_from(pod: Doc, container: Doc, source: Doc, read: Read) -> str | None:
    if (field := source.get("fieldRef")) is not None:
        return read_field(pod, field["fieldPath"])
    if (resource := source.get("resourceFieldRef")) is not None:
        section, _, name = resource["resource"].partition(".")
        return str(((container.get("resources") or {}).get(section) or {}).get(name, "0"))
    for key_field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
        if (reference := source.get(key_field)) is None:
            continue
        name, key = reference["name"], reference["key"]
        found = read(kind, name)
        values = {} if found is None else contents(found)
        if key in values:
            return values[key].decode(errors="replace")
        if reference.get("optional"):
            return None
        if found is None:
            raise MissingSource(f'{kind.lower()} "{name}" not found')
        namespace = pod["metadata"]["namespace"]
        raise MissingSource(f"couldn't find key {key} in {kind} {namespace}/{name}")
    return None


_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")


def read_field(pod: Doc, path: str) -> str:
    """A field of the downward API, "" where the pod has none."""
    if found := _SUBSCRIPT.match(path):
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = (pod["metadata"].get(path.partition(".")[2]) or {}).items()
        return "".join(f'{key}="{value}"\n' for key, value in sorted(pairs)).rstrip("\n")
    if path in ("status.podIPs", "status.hostIPs"):
        field = path.partition(".")[2]
        return ",".join(entry["ip"] for entry in pod.get("status", {}).get(field) or ())
    value: Any = pod
    for step in path.split("."):
        value = (value or {}).get(step)
    return "" if value is None else str(value)


def contents(source: Doc) -> dict[str, bytes]:
    """Key → bytes of a Secret or ConfigMap."""
    if source.get("kind") == "Secret":
        return {key: base64.b64decode(value or "") for key, value in (source.get("data") or {}).items()}
    values = {key: value.encode() for key, value in (source.get("data") or {}).items()}
    return values | {k: base64.b64decode(v) for k, v in (source.get("binaryData") or {}).items()}


def mounted_sources(pod: Doc) -> frozenset[tuple[str, str]]:
    """(kind, name) of every Secret and ConfigMap that a volume of this pod shows."""
    found = set()
    for volume in pod["spec"].get("volumes") or ():
        for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            if "secret" in source:
                found.add(("Secret", source["secret"].get("secretName") or source["secret"].get("name", "")))
            if "configMap" in source:
                found.add(("ConfigMap", source["configMap"].get("name", "")))
    return frozenset(found)


def build_files(pod: Doc, container: Doc, read: Read) -> dict[str, bytes]:
    """Every file that the container's mounts show, by absolute path."""
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    files: dict[str, bytes] = {}
    for mount in container.get("volumeMounts") or ():
        volume = volumes.get(mount["name"])
        if volume is None:
            continue
        root, sub = mount["mountPath"].rstrip("/"), (mount.get("subPath") or "").strip("/")
        for path, data in _volume_files(pod, volume, read).items():
            if not sub:
                files[f"{root}/{path}"] = data
            elif path == sub:
                files[root] = data
            elif path.startswith(sub + "/"):
                files[root + path[len(sub) :]] = data
    return files


def _volume_files(pod: Doc, volume: Doc, read: Read) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
        if (secret := source.get("secret")) is not None:
            files |= _source_files("Secret", secret.get("secretName") or secret.get("name", ""), secret, read)
        if (config := source.get("configMap")) is not None:
            files |= _source_files("ConfigMap", config.get("name", ""), config, read)
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            if "fieldRef" in item:
                files[item["path"]] = read_field(pod, item["fieldRef"]["fieldPath"]).encode()
    return files


def _source_files(kind: str, name: str, source: Doc, read: Read) -> dict[str, bytes]:
    found = read(kind, name)
    if found is None:
        if source.get("optional"):
            return {}
        raise Unmountable(f'{kind.lower()} "{name}" not found')
    values = contents(found)
    items = source.get("items")
    if not items:
        return values
    missing = [item["key"] for item in items if item["key"] not in values]
    if missing and not source.get("optional"):
        raise Unmountable(f"references non-existent {kind.lower()} key: {missing[0]}")
    return {item["path"]: values[item["key"]] for item in items if item["key"] in values}
