"""A cluster in one process: a Kubernetes API, emulated control planes, and simulated proxies that carry real bytes.

For somebody who tries Tailrace before giving it a cluster, somebody who rehearses a change, and our tests. Imports of
ours nothing but `tailrace.errors`: the twin must not share code with what it judges. `cli` joins it with the operator.
"""
