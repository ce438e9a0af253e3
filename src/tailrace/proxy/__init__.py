"""What all proxies share: names, configuration, Secret, Role, StatefulSet. Pure: values in, manifests out.

A proxy is one pod of the official image that is one device of the tailnet. Belongs here: how it is written down.
Does not belong here: whether there should be one (that is `kinds`), and any IO. Called by the decisions of `kinds`;
`plan.executor` calls `secret.put_key`.
"""
