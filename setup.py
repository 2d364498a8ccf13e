"""The Cython kernels; everything else about the build is in pyproject.toml.

A kernel that cannot be compiled is left out (`optional`): its NumPy twin gives the same answers, more slowly, and
`traceprop doctor` tells which of the two is in use.
"""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

KERNELS = sorted(Path("traceprop/passes/kernels").glob("_*.pyx"))

setup(
    ext_modules=cythonize(
        [
            Extension(
                ".".join(kernel.with_suffix("").parts), [kernel.as_posix()], extra_compile_args=["-O3"], optional=True
            )
            for kernel in KERNELS
        ],
        build_dir="build/cython",
        language_level=3,
    )
    if KERNELS
    else [],
)
