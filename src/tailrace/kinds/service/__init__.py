"""Exposing a Service: one annotation, and it answers on the tailnet.

Reading order: `controller` gathers what may be known (`inputs`) from what is `watched`; `request` reads what the user asks for,
`mode` how it can be given; `decide` says what to do; `truth` and `condition` say what is true; `failure` what stays true when
a plan fails; `view` shows it on the command line. Does not belong here: the proxy and its end, which `fleet` knows.
"""
