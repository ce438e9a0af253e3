"""Connectors: devices that route for the tailnet, as subnet router, exit node or app connector.

Reading order: `controller` gathers what may be known (`inputs`); `request` reads what is asked for; `place` says which
proxies the replicas are; `decide` says what to do, `rolling` whose turn it is; `truth` says what is true, with `routes` for
what is approved and served and `overlap` for what routes run into; `removal` takes everything away again; `failure` tells
what went wrong; `view` shows it on the command line. Does not belong here: what one proxy and its device need, which is
`fleet`'s.
"""
