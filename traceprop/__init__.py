"""traceprop: data lineage as a property of the program.

The names below are resolved when they are first used, so that `import traceprop` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "traceprop.api": (
        "Granularity LazyArray Table TracedFunction array at batches concat cond from_csv from_dataframe from_jax from_numpy "
        "from_torch get_granularity granularity random read_csv read_parquet register_rule reset_graph reweight "
        "set_granularity trace"
    ),
    "traceprop.lineage": "Location View provenance",
    "traceprop.training": (
        "GradientStore dataset fit_perturbed partitioned_gradients removal_budget streaming_training_context training_context"
    ),
    "traceprop.explain": "AttributionResult UnlearningResult ValuationResult attribution_engine data_valuation unlearn",
    "traceprop.reports": "compliance_report",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
_MODULES = ("errors", "ir", "passes", "stores")

__version__ = "1.0.0.dev0"
__all__ = ["__version__", *_HOME_OF, *_MODULES]

if TYPE_CHECKING:
    from traceprop import errors, ir, passes, stores
    from traceprop.api import (
        Granularity,
        LazyArray,
        Table,
        TracedFunction,
        array,
        at,
        batches,
        concat,
        cond,
        from_csv,
        from_dataframe,
        from_jax,
        from_numpy,
        from_torch,
        get_granularity,
        granularity,
        random,
        read_csv,
        read_parquet,
        register_rule,
        reset_graph,
        reweight,
        set_granularity,
        trace,
    )
    from traceprop.explain import (
        AttributionResult,
        UnlearningResult,
        ValuationResult,
        attribution_engine,
        data_valuation,
        unlearn,
    )
    from traceprop.lineage import Location, View, provenance
    from traceprop.reports import compliance_report
    from traceprop.training import (
        GradientStore,
        dataset,
        fit_perturbed,
        partitioned_gradients,
        removal_budget,
        streaming_training_context,
        training_context,
    )


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"traceprop.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'traceprop' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
