"""Devices that could not be deleted in time, remembered in a ConfigMap and deleted as soon as the control plane lets us.

The root is the record itself (`names.ORPHANS` in the operator's namespace): a key for each device id, a note of what
it was for people. Each entry that is gone from the control plane is struck off.
"""
