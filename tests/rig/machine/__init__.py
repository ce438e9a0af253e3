"""A real Kubernetes node, private to one test: kubelet, containerd, runc, CNI and kube-proxy beside real servers.

Here belongs what makes the machine: its namespaces and cgroups (`space`, `guard`, `cgroups`), its programs (`programs`), its images
(`images`), its cluster's names (`names`), its servers (`node`), what runs on it (`guests`), somebody's machine on the
tailnet (`laptop`) and the world around (`outside`).
What is proved on it belongs in the tests. Called by `test_node_traffic` and `test_routing`. Needs root, Linux and cgroups, of version 1 or 2.
"""
