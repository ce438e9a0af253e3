"""A real kube-apiserver with etcd and the controller manager, for one test session, on loopback ports of its own.

The binaries come from `TAILRACE_RIG_BIN`, `KUBEBUILDER_ASSETS`, what `make rig` built, or `PATH`; what is missing is
named in the skip.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
ADMIN = "rig-admin-token"


def find_binaries() -> dict[str, str]:
    """Where each binary is; those that are missing are left out."""
    folders = [os.environ.get(name, "") for name in ("TAILRACE_RIG_BIN", "KUBEBUILDER_ASSETS")]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tailrace" / "rig"
    path = os.pathsep.join([*(f for f in folders if f), str(cache), os.environ.get("PATH", "")])
    return {name: found for name in BINARIES if (found := shutil.which(name, path=path))}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiServer:
    """A running API server."""

    url: str
    folder: Path
    kubectl_path: str

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    def kubectl(self, *arguments: str) -> str:
        """Run the real kubectl as administrator; its output.

        Raises:
            AssertionError: it failed; the message has what it said.
        """
        command = [self.kubectl_path, f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def write_kubeconfig(self, name: str, token: str) -> Path:
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: rig\n"
            f"clusters: [{{name: rig, cluster: {{server: '{self.url}', insecure-skip-tls-verify: true}}}}]\n"
            f"users: [{{name: {name}, user: {{token: '{token}'}}}}]\n"
            f"contexts: [{{name: rig, context: {{cluster: rig, user: {name}}}}}]\n"
        )
        path.chmod(0o600)
        return path


@contextlib.contextmanager
def start(folder: Path) -> Iterator[ApiServer]:
    """Start the three servers, and end them whatever happens."""
    found = find_binaries()
    with contextlib.ExitStack() as stack:
        client, peer, secure = free_port(), free_port(), free_port()
        key, public = folder / "sa.key", folder / "sa.pub"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        subprocess.run(
            ["openssl", "rsa", "-in", str(key), "-pubout", "-out", str(public)],
            check=True,
            capture_output=True,
        )
        tokens = folder / "tokens.csv"
        tokens.write_text(f"{ADMIN},admin,admin,system:masters\n")
        server = ApiServer(url=f"https://127.0.0.1:{secure}", folder=folder, kubectl_path=found["kubectl"])
        server.write_kubeconfig("admin", ADMIN)
        etcd = f"http://127.0.0.1:{client}"
        run(
            stack,
            folder,
            found["etcd"],
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        )
        run(
            stack,
            folder,
            found["kube-apiserver"],
            f"--etcd-servers={etcd}",
            f"--secure-port={secure}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={folder / 'certs'}",
            f"--service-account-key-file={public}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=127.96.0.0/16",  # loopback: a test may answer at a ClusterIP
            "--allow-privileged=true",
        )
        wait_ready(server.url)
        run(
            stack,
            folder,
            found["kube-controller-manager"],
            f"--kubeconfig={server.kubeconfig}",
            f"--service-account-private-key-file={key}",
            "--secure-port=0",
        )
        yield server


def run(stack: contextlib.ExitStack, folder: Path, program: str, *arguments: str) -> None:
    log = stack.enter_context((folder / f"{Path(program).name}.log").open("wb"))
    process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)

    def end() -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(end)


def wait_ready(url: str) -> None:
    context = ssl._create_unverified_context()
    request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {ADMIN}"})
    for _ in range(240):
        try:
            with urllib.request.urlopen(request, context=context, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.25)
    raise AssertionError("the API server did not become ready")
