"""The same programs on Dask: rows cut into partitions, statistics folded as trees, positions gathered with their offsets."""

from traceprop.runtime.dask.executor import DaskExecutable, DaskExecutor, executor_for

__all__ = ["DaskExecutable", "DaskExecutor", "executor_for"]
