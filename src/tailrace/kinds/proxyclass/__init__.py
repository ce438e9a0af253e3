"""ProxyClass: whether a class can be used, and what its author should know.

Here belongs what is judged about a class by itself. How it changes a proxy is `tailrace.proxy.overlay`; who uses it
is known to the kinds that have proxies. `validate` says whether it can be used, `warn` what will not work.
"""
