"""The figures that the README quotes: one file each, run by `python -m benchmarks NAME... [--quick]`."""
