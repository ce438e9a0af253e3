"""What a document is: its schema and defaults, how patches and field owners change it, what selects it, its other form.

Belongs here: pure functions of documents, for all kinds alike. Does not belong here: what a document may not say
(`rules`), how it looks in a table (`printing`), where it is kept. Called by `writing`, `cluster`, `requests`, `openapi`.

Reading order: `schema` → `defaults` → `patch` → `fieldset`, `fieldmanager` (who owns which field) → `selectors`.
"""
