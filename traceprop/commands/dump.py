"""`traceprop dump`: the program of a function in a file, without running the function's work."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from traceprop.errors import TraceError

STAGES = ("traced", "optimized")


def dump_function(target: str, tables: list[str], arrays: list[str], na_values: list[str], stage: str = "both") -> str:
    """Return the text of the program that `target` (`FILE.py:FUNCTION` or `module:function`) is traced to.

    `tables` and `arrays` are `NAME=PATH`: parameters read by `tp.read_csv` and `tp.from_csv`. `stage` is `traced`,
    `optimized` or `both`. Raises TraceError for a target or a parameter that is not there.
    """
    import traceprop as tp

    if stage not in (*STAGES, "both"):
        raise TraceError(f"--stage {stage}: the stages are traced, optimized and both")
    function = find_function(target)
    values: dict[str, Any] = {}
    for name, path in _named(tables):
        values[name] = tp.read_csv(path, source_id=name, na_values=na_values)
    for name, path in _named(arrays):
        values[name] = tp.from_csv(path, source_id=name)
    traced = function if hasattr(function, "ir") else tp.trace(function)
    arguments = _in_order(traced, values, target)
    stages = STAGES if stage == "both" else (stage,)
    return "\n".join(f"# {each}\n{traced.ir(*arguments, stage=each)}\n" for each in stages)


def _named(pairs: list[str]) -> list[tuple[str, str]]:
    """NAME=PATH, taken apart."""
    taken = [tuple(pair.split("=", 1)) for pair in pairs]
    for pair, parts in zip(pairs, taken, strict=True):
        if len(parts) != 2 or not all(parts):
            raise TraceError(f"{pair!r} must be NAME=PATH, such as north=north.csv")
    return [(parts[0], parts[1]) for parts in taken]


def _in_order(function: Callable[..., Any], values: dict[str, Any], target: str) -> list[Any]:
    """Return the values in the order of the function's parameters."""
    import inspect

    parameters = inspect.signature(function).parameters
    names = list(parameters)
    if unknown := sorted(set(values) - set(names)):
        raise TraceError(f"{target} has no parameter {', '.join(unknown)}; its parameters: {', '.join(names)}")
    needed = [name for name in names if parameters[name].default is inspect.Parameter.empty]
    if missing := [name for name in needed if name not in values]:
        example = " ".join(f"--arg {name}=PATH.csv" for name in missing)
        raise TraceError(f"{target} also needs {', '.join(missing)}: add {example} (--array for files of numbers)")
    return [values[name] for name in names if name in values]


def find_function(target: str) -> Callable[..., Any]:
    """Return the function that `FILE.py:FUNCTION` or `module:function` names."""
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise TraceError(f"{target!r} must be FILE.py:FUNCTION, such as prep.py:prepare")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    function = getattr(module, name, None)
    if not callable(function):
        there = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise TraceError(f"{place} has no function {name!r}; it has: {', '.join(there) or 'none'}")
    return function  # type: ignore[no-any-return]


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise TraceError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))  # as `python FILE.py` does, so that it can import its neighbours
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise TraceError(f"{path}, line {error.lineno}: {error.msg}") from None
    finally:
        sys.path.pop(0)
    return module


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise TraceError(
            f"cannot import {name}: {error}; a file is named with its ending, as in prep.py:prepare"
        ) from None
