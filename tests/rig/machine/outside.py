"""The world around the node: networks of their own, the cables between them, what serves there and who has joined.

    client ── node ── LAN, internet          every cable ends in an address of the node
    router ── node
    router ── home                           nothing in the cluster has a way there but through the router

Whoever is asked who came tells the address that he sees: what went through a proxy comes from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.rig import tailnet
from tests.rig.apiserver import Server
from tests.rig.machine import programs, settings
from tests.rig.machine.laptop import Laptop, join, open_network
from tests.rig.machine.node import Machine

LAN, LAN_HOST = "192.168.77.0/24", "192.168.77.10"
INTERNET_HOST = "203.0.113.10"
HOME, HOME_HOST = "192.168.88.0/24", "192.168.88.10"
PORT = 8080
NAME, NAMED = "answer.rig", "192.0.2.7"  # what the client tells by DNS
WHO = "/cgi-bin/who"
NAMES_LOG = "dnsmasq.log"
SCRIPT = """\
#!/bin/sh
address=${{REMOTE_ADDR#[}} && address=${{address%]}}
echo Content-Type: text/plain
echo
echo "{name} sees ${{address#::ffff:}}"  # as IPv6 writes an address of IPv4
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outside:
    """All of it. `client` accepts routes; `router` has advertised one, which nobody has approved."""

    client: Laptop
    router: Laptop

    def list_questions(self) -> str:
        """What the client's DNS server was asked, and by whom."""
        return (self.client.folder / NAMES_LOG).read_text()


@contextlib.contextmanager
def start_outside(folder: Path, machine: Machine, headscale: tailnet.Headscale) -> Iterator[Outside]:
    folder.mkdir()
    new_key = ("preauthkeys", "create", "--tags", "tag:k8s")
    with contextlib.ExitStack() as stack:

        def place(name: str) -> Laptop:
            return stack.enter_context(open_network(folder / name, machine))

        client, router, home, lan, internet = map(place, ("client", "router", "home", "lan", "internet"))
        # Who has joined knows Headscale and the pods' addresses, for the direct path, and no way to all the world.
        for far, number in ((client, 1), (router, 2)):
            plug_in(machine, far, f"10.66.{number}.1/24", f"10.66.{number}.2/24")
            for known in (settings.ADDRESS, settings.PODS, "10.66.0.0/16"):
                far.ask("ip", "route", "add", known, "via", f"10.66.{number}.1")
        for far, near, own in ((lan, "192.168.77.1", LAN_HOST), (internet, "203.0.113.1", INTERNET_HOST)):
            plug_in(machine, far, f"{near}/24", f"{own}/24")
            far.ask("ip", "route", "add", "default", "via", near)
        lay_cable(router, home, "192.168.88.1/24", f"{HOME_HOST}/24")
        home.ask("ip", "route", "add", "default", "via", "192.168.88.1")
        router.ask("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        for far in (client, router, home, lan, internet):
            stack.enter_context(serve(far))
        stack.enter_context(answer_names(client, machine))
        for far, more in (
            (client, ("--accept-routes", "--netfilter-mode=off")),
            (router, (f"--advertise-routes={HOME}",)),
        ):
            key = headscale.cli(*new_key)
            stack.enter_context(join(far, machine, headscale.url, key, far.folder.name, *more))
        yield Outside(client=client, router=router)


def plug_in(machine: Machine, far: Laptop, here: str, there: str) -> None:
    """A cable from the node, with the addresses of its ends."""
    name = f"to-{far.folder.name}"
    machine.ask("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(far.pid))
    machine.ask("ip", "address", "add", here, "dev", name)
    machine.ask("ip", "link", "set", name, "up")
    wake(far, "eth0", there)


def lay_cable(near: Laptop, far: Laptop, here: str, there: str) -> None:
    near.ask("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", str(far.pid))
    wake(near, "lan0", here)
    wake(far, "eth0", there)


def wake(place: Laptop, device: str, address: str) -> None:
    place.ask("ip", "link", "set", "lo", "up")
    place.ask("ip", "address", "add", address, "dev", device)
    place.ask("ip", "link", "set", device, "up")


@contextlib.contextmanager
def serve(place: Laptop) -> Iterator[None]:
    """A web server that knows its place's name and tells who asks."""
    who = place.folder / "www" / "cgi-bin" / "who"
    who.parent.mkdir(parents=True)
    who.write_text(SCRIPT.format(name=place.folder.name))
    who.chmod(0o755)
    busybox = programs.find("busybox")
    command = [*place.network, busybox, "httpd", "-f", "-p", str(PORT), "-h", str(who.parents[1])]
    server = Server(command=command, log=place.folder / "httpd.log")
    server.start()
    try:
        yield
    finally:
        server.end(kill=True)


@contextlib.contextmanager
def answer_names(place: Laptop, machine: Machine) -> Iterator[None]:
    """A DNS server that writes down who asks."""
    found = f"LD_LIBRARY_PATH={machine.environment['LD_LIBRARY_PATH']}"
    command = [*place.network, "env", found, programs.find("dnsmasq"), "--keep-in-foreground"]
    command += ["--conf-file=/dev/null", "--user=root", "--no-resolv", "--no-hosts", "--pid-file="]
    command += ["--log-queries", "--log-facility=-", f"--address=/{NAME}/{NAMED}"]
    server = Server(command=command, log=place.folder / NAMES_LOG)
    server.start()
    try:
        yield
    finally:
        server.end(kill=True)
