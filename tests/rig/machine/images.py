"""Container images packed from programs that are here: one layer in an OCI layout, in a tar file, for `ctr images import`.

No registry takes part: a pod finds its image on the node, and a tag that is not `latest` is never pulled again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tailrace import settings
from tests.rig import binaries
from tests.rig.machine import programs

PROXY = f"docker.io/{settings.load({}).proxy_image}"  # as a pod's short name is read
PAUSE = "rig.local/pause:1"
BACKEND = "rig.local/backend:1"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def pack_all(folder: Path) -> list[Path]:
    """The images of the node and of the tests, as tar files in `folder`."""
    found = binaries.find(("containerboot", "tailscaled", "tailscale"))
    busybox, dnsmasq = programs.find("busybox"), programs.find("dnsmasq")
    box = {"bin/busybox": busybox} | find_libraries(busybox)
    proxy = box | find_libraries(*found.values())
    proxy |= {f"usr/local/bin/{name}": path for name, path in found.items()}
    server = box | {"usr/sbin/dnsmasq": dnsmasq} | find_libraries(dnsmasq)
    return [
        pack(folder / "pause.tar", PAUSE, box, command=["/bin/sleep", "infinity"]),
        # Without TLS the tailnet's relay is reached by this word alone.
        pack(
            folder / "proxy.tar",
            PROXY,
            proxy,
            command=["/usr/local/bin/containerboot"],
            environment={"TS_DEBUG_USE_DERP_HTTP": "1"},
        ),
        pack(folder / "backend.tar", BACKEND, server, command=["/bin/sh"]),
    ]


def find_libraries(*names: str) -> dict[str, str]:
    """What these programs are linked to, at the paths where their loader looks: path in the image → file."""
    environment = {"LD_LIBRARY_PATH": binaries.build_library_path(), "PATH": "/usr/bin:/bin"}
    found: dict[str, str] = {}
    for name in names:
        done = subprocess.run(["ldd", name], env=environment, capture_output=True, text=True, check=False)
        found |= {f"lib/{Path(path).name}": path for path in re.findall(r"=> (/\S+)", done.stdout)}
        found |= {path.lstrip("/"): path for path in re.findall(r"^\s+(/\S+)", done.stdout, re.M)}
    return found  # of a static program nothing


def pack(
    target: Path,
    name: str,
    files: Mapping[str, str],
    *,
    command: list[str],
    environment: Mapping[str, str] | None = None,
) -> Path:
    """An image of these files (path in it → path here) with BusyBox's commands and two users."""
    layer = pack_layer(files)
    search = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    config = {
        "architecture": _ARCHITECTURES[os.uname().machine],
        "os": "linux",
        "config": {
            "Entrypoint": command,
            "Env": [f"{key}={value}" for key, value in {"PATH": search, **(environment or {})}.items()],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    blobs: dict[str, bytes] = {}

    def keep(kind: str, blob: bytes) -> dict[str, object]:
        digest = hashlib.sha256(blob).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = blob
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": f"sha256:{digest}",
            "size": len(blob),
        }

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": keep("config.v1+json", json.dumps(config).encode()),
        "layers": [keep("layer.v1.tar", layer)],
    }
    entry = keep("manifest.v1+json", json.dumps(manifest).encode())
    entry["annotations"] = {"io.containerd.image.name": name}
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    blobs["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    with tarfile.open(target, "w") as archive:
        for path, blob in blobs.items():
            add(archive, path, blob)
    return target


def pack_layer(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in ("tmp", "etc", "var", "run", "proc", "sys", "dev"):
            folder = tarfile.TarInfo(path)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if path == "tmp" else 0o755
            archive.addfile(folder)
        add(archive, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
        add(archive, "etc/group", b"root:x:0:\nnogroup:x:65534:\n")
        for path, source in files.items():
            add(archive, path, Path(source).read_bytes())
        listing = subprocess.run([files["bin/busybox"], "--list"], capture_output=True, text=True, check=True)
        for applet in set(listing.stdout.split()) - {"busybox"}:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return buffer.getvalue()


def add(archive: tarfile.TarFile, path: str, data: bytes) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(data), 0o755
    archive.addfile(entry, io.BytesIO(data))
