"""One more tailnet that proxies may join: a `Tailnet` object, its Secret, and whether both are any good.

Belongs here: which memberships `tailnet.registry` has, the condition `TailnetReady`, and that a Tailnet stays while
something uses it. Does not belong here: how a control plane is spoken to (`tailnet`), who uses which tailnet (the other
rooms; the caller hands in a function that knows). Reading order: `inputs`, `decide` (pure), `watched`,
`tokens`, `controller`.
"""
