"""What each of the node's servers is told: command lines and configuration files, nothing runs here.

Addresses are fixed, since the network is the node's own. The kubelet lets everybody in: only its own pods reach it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.rig import needs
from tests.rig.machine import images, programs

NODE = "node1"
ADDRESS = "10.77.0.1"
GATEWAY = "10.244.0.1"  # of the pods
PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
ADDRESS6, GATEWAY6 = "fd00:77::1", "fd00:10:244::1"
PODS6, SERVICES6 = "fd00:10:244::/64", "fd00:10:96::/112"
TWO_STACKS = not needs.has_ipv6()
"""Whether the node has IPv6 as well: where the machine has it."""
API = f"https://{ADDRESS}:6443"
SOCKET = "/run/containerd/containerd.sock"
TOKENS = {
    "admin": ("admin", "system:masters"),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "kube-proxy": ("system:kube-proxy", ""),
}
"""Who asks the API server: name of the kubeconfig → user, group. The token is `rig-NAME`."""


def write_all(folder: Path, snapshotter: str) -> None:
    """Every file that a command line below names."""
    rows = [f'rig-{name},{user},{name},"{group}"' for name, (user, group) in TOKENS.items()]
    (folder / "tokens.csv").write_text("\n".join(rows) + "\n")
    for name in TOKENS:
        write_kubeconfig(folder / f"{name}.kubeconfig", f"rig-{name}")
    (folder / "cni").mkdir()
    documents = {"cni/rig.conflist": describe_network(), "kubelet.json": describe_kubelet(folder)}
    documents["kube-proxy.json"] = describe_proxy(folder)
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
    (folder / "containerd.toml").write_text(describe_containerd(folder, snapshotter))
    (folder / "resolv.conf").write_text(f"nameserver {ADDRESS}\n")
    (folder / "hosts").mkdir()


def write_kubeconfig(path: Path, token: str) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "rig",
        "clusters": [{"name": "rig", "cluster": {"server": API, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "rig", "user": {"token": token}}],
        "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": "rig"}}],
    }
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


def build_commands(folder: Path, found: Mapping[str, str]) -> dict[str, list[str]]:
    """The servers' command lines. `found`: where each program is."""
    etcd, admin = "http://127.0.0.1:2379", folder / "admin.kubeconfig"
    arguments: dict[str, list[str]] = {
        "etcd": [
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
        ],
        "kube-apiserver": [
            f"--etcd-servers={etcd}",
            f"--advertise-address={ADDRESS}",
            f"--cert-dir={folder / 'certs'}",
            f"--service-account-key-file={folder / 'sa.pub'}",
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-cluster-ip-range={join(SERVICES, SERVICES6)}",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=master-count",
            "--kubelet-preferred-address-types=InternalIP",
        ],
        "kube-controller-manager": [
            f"--kubeconfig={admin}",
            f"--service-account-private-key-file={folder / 'sa.key'}",
            f"--root-ca-file={folder / 'certs' / 'apiserver.crt'}",
            "--use-service-account-credentials=true",
            "--secure-port=0",
            "--leader-elect=false",
        ],
        "kube-scheduler": [f"--kubeconfig={admin}", "--secure-port=0", "--leader-elect=false"],
        "containerd": [f"--config={folder / 'containerd.toml'}"],
        "kubelet": [
            f"--config={folder / 'kubelet.json'}",
            f"--kubeconfig={folder / 'kubelet.kubeconfig'}",
            f"--cert-dir={folder / 'kubelet-certs'}",
            f"--hostname-override={NODE}",
            f"--node-ip={join(ADDRESS, ADDRESS6)}",
        ],
        "kube-proxy": [f"--config={folder / 'kube-proxy.json'}"],
        "dnsmasq": [
            *("--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--no-resolv", "--no-hosts"),
            *(f"--listen-address={ADDRESS}", "--bind-interfaces", "--local=/cluster.local/"),
            f"--hostsdir={folder / 'hosts'}",
            f"--pid-file={folder / 'dnsmasq.own.pid'}",
        ],
    }
    return {name: [found[name], *words] for name, words in arguments.items()}


def join(ipv4: str, ipv6: str) -> str:
    """What the node has of both, as its servers write it."""
    return f"{ipv4},{ipv6}" if TWO_STACKS else ipv4


def describe_network() -> dict[str, Any]:
    """Pods on one bridge, which exists before them; the last addresses are for machines beside them."""
    ranges = [[{"subnet": PODS, "rangeEnd": "10.244.0.199", "gateway": GATEWAY}]]
    routes = [{"dst": "0.0.0.0/0"}]
    if TWO_STACKS:
        ranges.append([{"subnet": PODS6, "gateway": GATEWAY6}])
        routes.append({"dst": "::/0"})
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": ranges, "routes": routes},
    }
    return {"cniVersion": "0.4.0", "name": "rig", "plugins": [bridge]}


def describe_kubelet(folder: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "readOnlyPort": 0,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/",
        "enforceNodeAllocatable": ["pods"],
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(folder / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        # The disk is everybody's.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }


def describe_proxy(folder: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(folder / "kube-proxy.kubeconfig")},
        "mode": "nftables",
        "bindAddress": ADDRESS,
        "clusterCIDR": join(PODS, PODS6),
        "hostnameOverride": NODE,
        "oomScoreAdj": 0,
        # These limits belong to the whole machine.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def describe_containerd(folder: Path, snapshotter: str) -> str:
    """Version 2 of the format, which newer servers read too."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{folder}/containerd"
state = "/run/containerd"
imports = []
[grpc]
address = "{SOCKET}"
[{cri}]
sandbox_image = "{images.PAUSE}"
restrict_oom_score_adj = true
[{cri}.cni]
bin_dir = "{Path(programs.find("bridge")).parent}"
conf_dir = "{folder}/cni"
[{cri}.containerd]
default_runtime_name = "runc"
snapshotter = "{snapshotter}"
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
BinaryName = "{programs.find("runc")}"
SystemdCgroup = false
"""
