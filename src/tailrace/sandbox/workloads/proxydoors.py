"""Where connections to a proxy lead: the rules that containerboot installs, as open doors.

A kernel proxy forwards every port of an address. Here that is every port that answers at the target now, kept in step
as ports come and go; towards an address outside the sandbox there is nothing to go by, so nothing is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tailrace.sandbox.workloads.bootconfig import Serve
from tailrace.sandbox.workloads.dataplane import Connect, Door, Forwards, Way
from tailrace.sandbox.workloads.network import Address, Network


class Doors:
    """The open doors of one proxy."""

    def __init__(
        self,
        network: Network,
        *,
        resolve: Callable[[str], str | None],
        changed: Callable[[], None],
        taken: Iterable[Door] = (),
        connect: Connect | None = None,
    ) -> None:
        """`changed` is called when ports at a target come or go; `taken` are doors of the proxy itself. `resolve` and
        `connect` are the proxy's own way to what it leads to."""
        self._network, self._changed, self._taken = network, changed, frozenset(taken)
        self._resolve = resolve
        self._forwards = Forwards(network, cut=True, resolve=resolve, connect=connect)
        self._watched: dict[str, Callable[[], None]] = {}

    def match(self, entrances: Sequence[str], targets: Sequence[str], serve: Serve | None) -> None:
        """Lead every port of the addresses `entrances` to the same port of `targets`, and serve on top of it.

        Only IPv4 is carried. Raises OSError when somebody else listens at an entrance.
        """
        entries, ends = ([ip for ip in ips if ":" not in ip] for ips in (entrances, targets))
        self._watch(filter(None, map(self._resolve, ends)))
        ways = self._follow(ends)
        if serve is not None:
            for port, forward in serve.tcp.items():
                ways["tcp", port] = Way(((forward.host, forward.port),), forward.proxy_protocol)
        wanted = {Door(protocol, ip, port): way for (protocol, port), way in ways.items() for ip in entries}
        self._forwards.match({door: way for door, way in wanted.items() if door not in self._taken})

    def _follow(self, targets: Iterable[str]) -> dict[tuple[str, int], Way]:
        """(protocol, port) of all that answers at the targets, and where to go for it."""
        found: dict[tuple[str, int], list[Address]] = {}
        for ip in targets:
            at = self._resolve(ip)
            for protocol, port in sorted(self._network.listening(at) if at else ()):
                found.setdefault((protocol, port), []).append((ip, port))
        return {key: Way(tuple(addresses)) for key, addresses in found.items()}

    def close(self) -> None:
        self._watch(())
        self._forwards.close()

    def _watch(self, ips: Iterable[str]) -> None:
        wanted = set(ips)
        for ip in self._watched.keys() - wanted:
            self._watched.pop(ip)()
        for ip in wanted - self._watched.keys():
            self._watched[ip] = self._network.watch(ip, self._changed)
