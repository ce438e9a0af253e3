"""What the operator says about itself: logs and metrics, each with one defining file.

Belongs here: the log set-up, redaction, the one metric registry and its table. Does not belong here: anything that
decides or acts; this package imports nothing else of ours. Called by the edges only (kube, tailnet, runtime, cli).
"""
