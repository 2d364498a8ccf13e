"""All of NumPy's public functions by family: each with cases to try it on, or with the reason why it has none."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.lineage import numpy_cases, numpy_indexing, numpy_ufuncs
from tests.lineage.case import Case
from tests.lineage.numpy_functions import CASES

Cases = dict[str, Case]

UNDER: dict[str, str] = {
    "percentiles": "percentile",
    "quantiles": "quantile",
    "quantiles of few bits": "quantile",
    "initial": "max",
    "windows": "lib.stride_tricks.sliding_window_view",
    "where sum": "sum",
    "where mean": "mean",
    "where std": "std",
    "where max": "max",
    "where any": "any",
    "diff append": "diff",
}
"""Whose case of `numpy_functions.CASES` one is, where its first word does not say so."""


def _function_of(case: str) -> str | None:
    first, _, rest = case.partition(" ")
    if case in UNDER:
        return UNDER[case]
    if first in ("linalg", "fft", "strings") and rest:
        return f"{first}.{rest.split()[0]}"
    if first == "many":
        return f"linalg.{rest}"
    for module, prefix in ((np, ""), (np.linalg, "linalg."), (np.fft, "fft.")):
        found = getattr(module, first, None)
        if callable(found) and not isinstance(found, type):
            return prefix + first
    return None


def families() -> dict[str, dict[str, Cases]]:
    """By family and function: its cases."""
    listed: dict[str, dict[str, Cases]] = {
        "ufuncs": numpy_ufuncs.calls(),
        "creation": numpy_cases.CREATION,
        "shapes": numpy_cases.SHAPES,
        "statistics": numpy_cases.REDUCTIONS,
        "sorting, searching, sets": numpy_cases.SEARCH,
        "cell by cell": numpy_cases.ELEMENTWISE,
        "linear algebra": numpy_cases.LINEAR,
        "Fourier transforms": numpy_cases.FOURIER,
        "text": numpy_cases.TEXT,
        "indexing": {f"x[{name}]": {"": case} for name, case in numpy_indexing.READ.items()},
        "updates": {f"tp.at(x)[{name}]": {"": case} for name, case in numpy_indexing.WRITE.items()},
        "dates, text and updates in programs": {},
    }
    found = {family: {function: dict(cases) for function, cases in each.items()} for family, each in listed.items()}
    place = {function: family for family, each in found.items() for function in each}
    for name, case in CASES.items():
        function = _function_of(name)
        if function is None:
            found["dates, text and updates in programs"][name] = {"": case}
            continue
        family = place.get(function) or _family_of(function)
        found[family].setdefault(function, {})[name] = case
    return found


def _family_of(function: str) -> str:
    module = function.split(".")[0]
    if module in ("linalg", "fft", "strings"):
        return {"linalg": "linear algebra", "fft": "Fourier transforms", "strings": "text"}[module]
    for family, names in HOMES.items():
        if function in names.split():
            return family
    raise KeyError(f"np.{function} has no family")


HOMES = {
    "shapes": "unstack atleast_3d rollaxis broadcast_arrays roll resize block tril triu diag diagflat diagonal trace",
    "statistics": "diff ediff1d unwrap cumulative_sum apply_along_axis apply_over_axes bincount",
    "sorting, searching, sets": (
        "unique isin union1d setdiff1d setxor1d searchsorted digitize lexsort argpartition take choose unravel_index "
        "ravel_multi_index"
    ),
    "cell by cell": "interp vander polyval fftshift",
    "linear algebra": "kron convolve correlate lstsq",
}

LEFT_OUT: dict[str, str] = {
    name: reason
    for reason, names in {
        "gives a plain array: in a traced function an error that says so, outside of one it computes": (
            "array asarray asanyarray asarray_chkfinite ascontiguousarray asfortranarray asmatrix bmat require from_dlpack "
            "fromiter"
        ),
        "reads or writes files, buffers or text": (
            "load loadtxt save savetxt savez savez_compressed genfromtxt fromfile fromregex fromstring frombuffer"
        ),
        "prints or formats": (
            "array2string array_repr array_str format_float_positional format_float_scientific get_printoptions printoptions "
            "set_printoptions typename base_repr binary_repr info show_config show_runtime"
        ),
        "asks about dtypes, and of no cell": (
            "can_cast common_type datetime_data isdtype iscomplexobj isrealobj isfortran isscalar issubdtype iterable "
            "min_scalar_type mintypecode promote_types result_type"
        ),
        "writes in place: an error that says what to write instead": "copyto place put putmask put_along_axis fill_diagonal",
        "asks how memory is laid out": "may_share_memory shares_memory",
        "sets up NumPy itself": (
            "get_include getbufsize setbufsize geterr seterr geterrcall seterrcall test linalg.test fft.test einsum_path "
            "nested_iters"
        ),
    }.items()
    for name in names.split()
}
"""Public functions that have no case, and why."""


def public() -> list[str]:
    """The names of NumPy's public functions (classes apart); an alias stands for what it is an alias of."""
    found = []
    for module, prefix in ((np, ""), (np.linalg, "linalg."), (np.fft, "fft."), (np.strings, "strings.")):
        seen: list[Any] = []
        for name in sorted(dir(module), key=lambda name: name != getattr(getattr(module, name), "__name__", "")):
            function = getattr(module, name)
            if (
                name.startswith("_")
                or not callable(function)
                or isinstance(function, type)
                or any(function is s for s in seen)
            ):
                continue
            seen.append(function)
            found.append(prefix + name)
    return sorted(found)
