"""Emulated control planes: one model of a tailnet, spoken to in three dialects over HTTP.

Here belong the tailnet's rules (`model`, `naming`, `policy`, `nodes`), the dialects (`tailscale`, `headscale_v1`,
`headscale_v2`) with their quirks, and what stands around them (`control`, `faults`, `admin`, `serve`). Not here: anything
that carries bytes between nodes (`sandbox.workloads`), and no code that a driver uses: a twin that shares code with what
it judges proves nothing. Called by `sandbox.world` and by tests. Where a real server was asked, the emulation answers
exactly as it did, odd status codes included.
"""
