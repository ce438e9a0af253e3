"""What the suites of talks share: a talk is a public function of its module."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any


def collect(modules: Iterable[ModuleType]) -> dict[str, Callable[[Any], None]]:
    """Every talk that the modules themselves define, as `module.function`."""
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": found
        for module in modules
        for name, found in vars(module).items()
        if isinstance(found, FunctionType)
        and found.__module__ == module.__name__
        and not name.startswith("_")
    }
