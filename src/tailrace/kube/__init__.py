"""Kubernetes: where the cluster is, requests to it, and a live copy of what we need to know.

Belongs here: kubeconfig, the client facade, list and watch, the store. Does not belong here: what an object means to
us. Called by `runtime`, `plan.executor`, the kinds and the command line.

Reading order: `resource` (names), `client` (one request), `reflector` (list and watch as a machine without IO),
`watch` (drives it), `store` (what it fills).
"""
