"""The command line: one file a command, `main` puts them together, `output` prints.

Belongs here: reading what a person typed and showing what there is. Does not belong here: any decision about objects,
which is `kinds`'. Data goes to standard output, talk to standard error; a wrong input is one sentence and a `hint:`.
"""

from tailrace.cli.main import main as main
