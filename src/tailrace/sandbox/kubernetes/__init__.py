"""A Kubernetes API server in one process, in memory: what `kubectl` and client-go programs need, and that exactly.

Belongs here: resources and their storage, watches, admission order, garbage collection, RBAC, and their HTTP form.
Does not belong here: whatever *runs* (controllers, pods, endpoints: `sandbox.workloads`). Nothing of the product is
imported: a twin that shares code with what it judges proves nothing. Called by `sandbox.world` and by tests.

Reading order: `resources` (what kinds exist) → `storage` (versions, history) → `cluster` (every verb) → `writing` (a
document's way in; `strategies`, `deletion`), `watching` (the way out) → `server` (HTTP; `exchange`, `descriptions`, `admin`).
`documents`, `rules` and `printing` are pure.
"""
