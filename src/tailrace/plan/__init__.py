"""Plans: what a decision wants done, as a value.

`ops` has the operations and `Plan`; `diff` leaves out what is so already; `ownership` says what may be touched;
`words` reads a plan aloud. All pure. `executor` is the one file here that acts. Called by `kinds` (decide returns a
plan), by the command line (`render`, `explain`) and by the laws.
"""
