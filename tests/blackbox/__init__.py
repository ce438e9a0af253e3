"""`tailrace sandbox` as its users see it: a process of its own, real clients, real bytes.

Belongs here: what somebody does with a terminal or with a program of their own. Does not belong here: anything that
looks inside the sandbox's process; that is in `tests/sandbox`.
"""
