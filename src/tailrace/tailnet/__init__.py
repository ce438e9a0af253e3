"""Control planes (Tailscale, Headscale) behind one port.

Belongs here: `port` (what every control plane offers), one driver for each dialect (`tailscale`, `headscale_v1`,
`headscale_v2`, and `memory`, the twin for tests), who we are (`identity`), where that is written (`credentials`, `oauth`),
which driver a credential and a server ask for (`connect`), the one shared list of devices (`devices`), and the tailnets
that we are a member of (`registry`).

Does not belong here: what a device is for, names of objects, conditions. Drivers do not know each other; what the
v2 dialects share is in `v2`, what all share in `replies` and `words`.

Called by `app`, `cli`, `fleet`, `kinds` and `plan.executor`: `connect.connect(...)` gives a `port.ControlPlane`,
`devices.DeviceList` the list. Reading order: `port`, `v2`, `tailscale`, `headscale_v1`, `connect`, `devices`, `registry`.
"""
