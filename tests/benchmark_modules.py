"""Modules of `benchmarks`, by their place: it is no part of the package, and so on no path."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def opened(path: str) -> ModuleType:
    """The module at a path below `benchmarks`, such as "speed/harness.py"."""
    place = BENCHMARKS / path
    spec = spec_from_file_location(f"benchmark_{place.stem}", place)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
