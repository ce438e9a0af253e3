"""Tailrace: Kubernetes workloads on a tailnet run by Tailscale or Headscale."""

__version__ = "0.1.0"
