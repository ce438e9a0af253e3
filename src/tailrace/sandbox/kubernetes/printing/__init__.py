"""Documents as the rows that `kubectl get` shows.

Belongs here: columns and cells, of built-in kinds and of CustomResourceDefinitions. Called by `answers` alone: `tables`
is the door, the rest are its parts.
"""
