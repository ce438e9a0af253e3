"""What a document may not say, in the real server's words.

Belongs here: pure judgements, a list of faults each. Does not belong here: types and defaults (`documents`), rights
(`rbac`), what plug-ins refuse (`admission`). Called by `writing`.

Reading order: `field_errors` (one fault) → `validation` (the doors) → `builtin_rules` and the rules it lists →
`custom_rules` and `cel` for custom resources.
"""
