"""`traceprop dump`: the program of a function in a file, without running the function's work."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from traceprop.errors import TraceError

if TYPE_CHECKING:
    from traceprop.passes.pipeline import Stage


def dump_function(
    target: str,
    tables: list[str],
    arrays: list[str],
    na_values: list[str],
    stage: str = "both",
    after_all: bool = False,
) -> str:
    """Return the text of the program that `target` (`FILE.py:FUNCTION` or `module:function`) is traced to.

    `tables` and `arrays` are `NAME=PATH`, parameters read by `tp.read_csv` and `tp.from_csv`, or `NAME=TYPE`, parameters
    of which nothing is known but a type such as `f64[N,4]`. `stage` is `traced`, `optimized`, both, or the name of a pass;
    `after_all` shows every pass: the program behind it, what it changed, and what it took.
    Raises TraceError for a target, a parameter or a stage that is not there.
    """
    import traceprop as tp

    function = find_function(target)
    values: dict[str, Any] = {}
    for name, given in _named(tables):
        values[name] = declared(name, given) or tp.read_csv(given, source_id=name, na_values=na_values)
    for name, given in _named(arrays):
        values[name] = declared(name, given) or tp.from_csv(given, source_id=name)
    traced = function if hasattr(function, "ir") else tp.trace(function)
    stages = traced.history(*_in_order(traced, values, target))
    if after_all:
        return _after_all(stages)
    programs = {each.name: each.program for each in stages} | {"optimized": stages[-1].program}
    wanted = ["traced", "optimized"] if stage == "both" else [stage]
    if unknown := [name for name in wanted if name not in programs]:
        raise TraceError(f"--stage {unknown[0]}: the stages are {', '.join(programs)} and both")
    return "\n".join(f"# {name}\n{programs[name]}\n" for name in wanted)


def declared(name: str, given: str) -> Any:
    """The source of a declared type; None where `given` is a path."""
    if not given.rstrip().endswith("]") or Path(given).exists():
        return None
    from traceprop.sources import DeclaredSource, declared_type

    return DeclaredSource(declared_type(given), name)


def _after_all(stages: Sequence[Stage]) -> str:
    """Every stage whole, with what it changed, and a table of counts and times."""
    import difflib

    pages = [f"# {stages[0].name}\n{stages[0].program}\n"]
    for before, after in itertools.pairwise(stages):
        texts = [str(before.program).splitlines(), str(after.program).splitlines()]
        changed = "\n".join(difflib.unified_diff(*texts, before.name, after.name, lineterm="", n=0))
        if changed:
            pages.append(f"# after {after.name}\n{after.program}\n\n# what {after.name} changed\n{changed}\n")
        else:
            pages.append(f"# after {after.name}: as before\n")
    width = max(len(stage.name) for stage in stages)
    rows = [f"# {stage.name:<{width}}  {stage.ops:>6} ops  {1000 * stage.seconds:>9.3f} ms" for stage in stages]
    return "\n".join([*pages, *rows, ""])


def _named(pairs: list[str]) -> list[tuple[str, str]]:
    """NAME=PATH, taken apart."""
    taken = [tuple(pair.split("=", 1)) for pair in pairs]
    for pair, parts in zip(pairs, taken, strict=True):
        if len(parts) != 2 or not all(parts):
            raise TraceError(f"{pair!r} must be NAME=PATH, such as north=north.csv, or NAME=TYPE, such as x='f64[N,4]'")
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
        raise TraceError(
            f"{target} also needs {', '.join(missing)}: add {example} (--array for files of numbers; a type will do)"
        )
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
