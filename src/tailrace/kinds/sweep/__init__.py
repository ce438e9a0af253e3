"""What is left over on a tailnet and in the operator's namespace: found, judged, and taken away where it is provably ours.

One judgement for two callers. The sweeper in the operator takes slowly what is `Verdict.OURS`; `tailrace gc` shows
everything to a person, who may let more go. Reading order: `inputs`, `judge`, `controller`. Devices of the orphan record are
the business of `kinds.orphan`; proxies without an object are that of the room of their kind, which is only woken here.
"""
