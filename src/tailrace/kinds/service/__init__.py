"""Exposing a Service: one annotation, and it answers on the tailnet.

Reading order: `controller` gathers what may be known; `request` reads what the user asks for; `decide` says what to
do; `condition` says what is true; `removal` takes everything away again; `view` shows it on the command line.
"""
