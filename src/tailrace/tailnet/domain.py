"""The base domain of a Headscale, which its API does not tell: learned from a proxy."""

from __future__ import annotations


class BaseDomain:
    def __init__(self) -> None:
        self.domain: str | None = None

    def complete(self, name: str) -> str | None:
        """The full name of a device, without trailing dot."""
        return f"{name}.{self.domain}" if self.domain and name else None

    def learn(self, fqdn: str) -> None:
        """From what a proxy was told by the control plane, e.g. `app.tailnet.example.` The newest word counts:
        an administrator may change the domain."""
        _, dot, rest = fqdn.strip(".").lower().partition(".")
        if dot and rest:
            self.domain = rest
