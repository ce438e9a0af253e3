"""The HTTP library's home: one small client for every server that Tailrace talks to.

Belongs here: sending a call (address, authorisation, time-outs, a bound on calls at once), deciding whether it
may be sent again, reading a reply within a size, saying an error without its secrets. `retry` and `redact` are
pure and shared with whoever speaks HTTP by other means (`kube`, logs).

Does not belong here: what a reply means. Each driver gives its own `translate` and decodes its own structs.

Called by `tailnet`, `kube`, `dns`. Nobody else imports the HTTP library.
"""
