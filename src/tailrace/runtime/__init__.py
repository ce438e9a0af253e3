"""The engine: keys come from watches, wait in a queue, and are reconciled by workers, while one process leads.

Belongs here: queue, controller, manager, lease, Events, health. Does not belong here: any kind; what a reconcile
means is a callable. Called by `app`, `fleet` and the kinds; the command line reads what `published` wrote down.

Reading order: `manager` (who owns what), `controller` (one key's way), `queue` (when it is its turn).
"""
