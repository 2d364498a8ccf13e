"""The Cython kernels; everything else about the build is in pyproject.toml.

A kernel that cannot be compiled is left out (`optional`): its NumPy twin gives the same answers, more slowly, and
`traceprop doctor` tells which of the two is in use.
"""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

sources = sorted(Path("traceprop/passes/kernels").glob("_*.pyx"))
options = ["-O3", "-g0", "-ffp-contract=off"]  # a product and a sum are rounded each, as NumPy does it
kernels = cythonize(
    [
        Extension(
            ".".join(source.with_suffix("").parts),
            [source.as_posix()],
            extra_compile_args=options,
        )
        for source in sources
    ],
    build_dir="build/cython",
    language_level=3,
)
for kernel in kernels:
    kernel.optional = True  # set here, because cythonize drops it

setup(ext_modules=kernels)
