"""The engine: queue, controllers, manager, leader lease, events, health. It knows no kind.

Belongs here: when something is worked on, by whom, and what happens after a failure. Does not belong here: what is
done. Called by `app`, which puts controllers of `kinds` into a manager.
"""
