"""Pickling of traced functions: by the name under which a module holds them, as Python pickles functions; never their code."""

from __future__ import annotations

import pickle
import sys
from typing import Any


def name_of(function: Any, plain: Any) -> str:
    """The name by which the function's module gives this very object.

    `plain` is what was decorated. Raises `pickle.PicklingError` for a function that no name leads to: a lambda, one defined
    inside another, a module of weights.
    """
    module = getattr(plain, "__module__", None)
    home = sys.modules.get(module) if isinstance(module, str) else None
    qualified = getattr(plain, "__qualname__", "")
    if home is not None:
        if _found(home, qualified) is function:
            return str(qualified)
        for name, value in list(vars(home).items()):  # prepare = tp.trace(_prepare)
            if value is function:
                return name
    code = getattr(plain, "__code__", None)
    where = f" at {code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno}" if code is not None else ""
    raise pickle.PicklingError(
        f"the traced function {qualified or plain!r}{where} is pickled by reference, and no name in the module {module!r} "
        "leads to it: define it with def at the top level of a module, for a worker to import"
    )


def _found(home: Any, qualified: str) -> Any:
    value = home
    for part in qualified.split("."):
        value = getattr(value, part, None)
    return value
