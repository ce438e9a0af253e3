"""The definitions of our kinds as YAML: for `tailrace crds`, the chart, and those who install without Helm."""

from __future__ import annotations

from typing import Any

import yaml

from tailrace.api import crd


class _Dumper(yaml.SafeDumper):
    """What stands in two places is written twice: anchors would be for machines alone."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def print_definition(kind: crd.Definition) -> str:
    """One document, without `---`."""
    return yaml.dump(crd.build_crd(kind), Dumper=_Dumper, sort_keys=False, width=110)
