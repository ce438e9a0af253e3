"""Egress: a Service in the cluster that leads to a device of the tailnet, or to what lies behind one of its routers.

Belongs here: what such a Service asks for, its rewrite and its return, whether its target can be reached. Does not belong
here: the proxy itself, which `fleet` knows. Reading order: `controller` gathers what may be known (`inputs`); `request` reads
what the user asks for; `decide` says what to do, with `original` for what the user's Service was and `target` for the far
end; `truth` says what is true; `removal` takes everything away again; `failure` tells what went wrong; `view` shows it.
"""
