"""How control planes are spoken to: one small HTTP client for all of them.

Belongs here: sending a call (address, authorisation, time-outs, a bound on calls at once), deciding whether it
may be sent again, reading a reply within a size, saying an error without its secrets. `retry` and `redact` are
pure and shared with whoever speaks HTTP by other means (`kube`, logs).

Does not belong here: what a reply means. Each driver gives its own `translate` and decodes its own structs.

Called by `tailnet`; `kube`, which has a client of its own for watches, shares what is pure.
"""
