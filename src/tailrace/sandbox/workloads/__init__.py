"""The workload side of the sandbox: what a node, its controllers and its network do for a cluster.

Belongs here: the controllers that make pods (StatefulSet, Deployment), EndpointSlices, pod-security admission,
the kubelet that runs a pod as a simulated program (proxy or backend), and the network that carries real bytes
between tailnet, ClusterIPs and pods over loopback.
Does not belong here: the API server (`sandbox.kubernetes`), control planes (`sandbox.controlplane`), and anything
that decides what Tailrace does. Nothing here shares code with the product: a twin that did would prove nothing.
Called by `sandbox.world`, which puts the rooms together.
"""
