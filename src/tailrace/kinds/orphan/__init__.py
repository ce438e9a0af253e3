"""Devices that could not be deleted in time, remembered in a ConfigMap and deleted as soon as their control plane lets us.

The root is the record itself (`names.ORPHANS` in the operator's namespace): a key for each device, a note of what it was
and on which tailnet. Each entry that is gone from its control plane is struck off.
"""
