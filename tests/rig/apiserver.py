"""A real kube-apiserver with etcd and the controller manager, for one test session, on loopback ports of its own.

The binaries come from `TAILRACE_RIG_BIN`, `KUBEBUILDER_ASSETS`, what `make rig` built, or `PATH`; what is missing is
named in the skip. Each program runs under a keeper (`keeper.py`), so that none outlives the tests, and etcd's data
goes with the folder that the caller gave.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.rig import binaries

BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
TOOLS = ("openssl",)
ADMIN = "rig-admin-token"
KEEPER = Path(__file__).with_name("keeper.py")
_ATTEMPTS = 3  # a port that was free may be taken by a neighbour before we listen on it
_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: [system:serviceaccounts:tailscale]}
- {level: None}
"""


ROOT = Path(__file__).resolve().parents[2]
RIGHTS = ROOT / "src" / "tailrace" / "cli" / "rbac.yaml"
DEFINITIONS = ROOT / "deploy" / "crds"
HOME = "tailscale"


class Ended(Exception):
    """A server ended by itself; its log says why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(kw_only=True, slots=True)
class Server:
    """One program under its keeper: `end` and `start` it as often as you like; it keeps its command line."""

    command: Sequence[str]
    log: Path
    _keeper: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-S", "-E", str(KEEPER), *self.command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt at the terminal is for the tests
            )

    @property
    def pid(self) -> int:
        """Of its keeper."""
        assert self._keeper is not None, "it is not running"
        return self._keeper.pid

    @property
    def failed(self) -> bool:
        """It was started and has ended without being told to."""
        return self._keeper is not None and self._keeper.poll() is not None

    def end(self, *, kill: bool = False) -> None:
        """Ask it to end and wait; with `kill` it is not asked."""
        if self._keeper is None:
            return
        if kill:
            self._keeper.send_signal(signal.SIGKILL)  # the kernel kills the program with it
        self._keeper.communicate()
        self._keeper = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiServer:
    """A running API server."""

    url: str
    folder: Path
    kubectl_path: str
    servers: dict[str, Server] = field(default_factory=dict, repr=False)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        """Every request of the service accounts of our namespace, without bodies, when `start` was told so."""
        return self.folder / "audit.log"

    def kubectl(self, *arguments: str) -> str:
        """Run the real kubectl as administrator; its output.

        Raises:
            AssertionError: it failed; the message has what it said.
        """
        command = [self.kubectl_path, f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
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

    def restart(self, *, kill: bool = False, flags: Sequence[str] = ()) -> None:
        """End the API server alone and start it on the same port; etcd keeps what there is.

        Args:
            kill: without asking it, as a power cut does.
            flags: for this and later starts, beside those it had.
        """
        server = self.servers["kube-apiserver"]
        server.end(kill=kill)
        server.command = [*server.command, *flags]
        server.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Until it serves.

        Raises:
            Ended: one of the servers ended instead.
            AssertionError: it took three minutes.
        """
        context = ssl._create_unverified_context()
        request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {ADMIN}"})
        for _ in range(1800):
            with contextlib.suppress(urllib.error.URLError, OSError):
                with urllib.request.urlopen(request, context=context, timeout=2) as answer:
                    if answer.status == 200:
                        return
            for name, server in self.servers.items():
                if server.failed:
                    raise Ended(f"{name} ended: {server.log.read_text()[-2000:]}")
            time.sleep(0.1)
        raise AssertionError("the API server did not become ready")


@contextlib.contextmanager
def start(folder: Path, *, audit: bool = False, flags: Sequence[str] = ()) -> Iterator[ApiServer]:
    """Start the three servers, and end them whatever happens.

    Args:
        audit: write down what the service accounts of our namespace ask for (`audit.py` reads it).
        flags: more arguments of the API server.
    """
    server = bring_up(folder, audit=audit, flags=flags)
    try:
        yield server
    finally:
        end(server)


def furnish(kubectl: Callable[..., str]) -> None:
    """Our namespace, definitions and rights, as an installation has them. `kubectl`: of an administrator."""
    kubectl("create", "namespace", HOME)
    kubectl("apply", "--server-side", "-f", str(DEFINITIONS), "-f", str(RIGHTS))


def bring_up(folder: Path, *, audit: bool, flags: Sequence[str]) -> ApiServer:
    for attempt in range(1, _ATTEMPTS + 1):
        server = build(folder, audit=audit, flags=flags)
        try:
            for name in ("etcd", "kube-apiserver"):
                server.servers[name].start()
            server.wait_ready()
            server.servers["kube-controller-manager"].start()
        except BaseException as error:
            end(server)
            if not isinstance(error, Ended) or attempt == _ATTEMPTS:
                raise
        else:
            return server
    raise AssertionError("unreachable")


def end(server: ApiServer) -> None:
    """The last first; etcd's data, which is big, goes too."""
    for name in ("kube-controller-manager", "kube-apiserver", "etcd"):
        server.servers[name].end()
    shutil.rmtree(server.folder / "etcd", ignore_errors=True)


def build(folder: Path, *, audit: bool, flags: Sequence[str]) -> ApiServer:
    """The three servers with free ports, keys and command lines; nothing runs yet."""
    found = binaries.find(BINARIES)
    client, peer, secure = free_port(), free_port(), free_port()
    key, public = folder / "sa.key", folder / "sa.pub"
    if not public.exists():
        make_keys(key, public)
    tokens = folder / "tokens.csv"
    tokens.write_text(f"{ADMIN},admin,admin,system:masters\n")
    server = ApiServer(url=f"https://127.0.0.1:{secure}", folder=folder, kubectl_path=found["kubectl"])
    server.write_kubeconfig("admin", ADMIN)
    etcd = f"http://127.0.0.1:{client}"
    commands: dict[str, list[str]] = {
        "etcd": [
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        ],
        "kube-apiserver": [
            f"--etcd-servers={etcd}",
            f"--secure-port={secure}",
            "--bind-address=127.0.0.1",
            "--advertise-address=192.0.2.1",  # nobody dials it; it would look for a route, which may be missing
            f"--cert-dir={folder / 'certs'}",
            f"--service-account-key-file={public}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=127.96.0.0/16",  # loopback: a test may answer at a ClusterIP
            "--allow-privileged=true",
            *(build_audit_flags(server) if audit else ()),
            *flags,
        ],
        "kube-controller-manager": [
            f"--kubeconfig={server.kubeconfig}",
            f"--service-account-private-key-file={key}",
            "--secure-port=0",
            "--leader-elect=false",  # alone, and it shall outlive a restart of the API server
        ],
    }
    for name, arguments in commands.items():
        server.servers[name] = Server(command=[found[name], *arguments], log=folder / f"{name}.log")
    return server


def build_audit_flags(server: ApiServer) -> list[str]:
    """Blocking: a request is written down before its answer goes out."""
    policy = server.folder / "audit-policy.yaml"
    policy.write_text(_POLICY)
    return [
        f"--audit-policy-file={policy}",
        f"--audit-log-path={server.audit_log}",
        "--audit-log-mode=blocking",
    ]


def make_keys(key: Path, public: Path) -> None:
    """The key pair that signs service-account tokens."""
    for arguments in (
        ("genrsa", "-out", str(key), "2048"),
        ("rsa", "-in", str(key), "-pubout", "-out", str(public)),
    ):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
