"""Exposing a Service: one annotation, and it answers on the tailnet.

Reading order: `controller` gathers what may be known (`inputs`) from what is `watched`; `request` reads what the user asks for, `mode` how it can be
given, `naming` whose the name is; `decide` says what to do; `truth` and `condition` say what is true; `removal` takes everything away again;
`failure` tells what went wrong; `view` shows it on the command line.
"""
