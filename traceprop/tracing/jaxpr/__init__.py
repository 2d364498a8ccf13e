"""Which ops each JAX primitive is: one module per family, each with a table of handlers by primitive name."""
