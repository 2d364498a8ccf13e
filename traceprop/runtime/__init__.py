"""IR to results: code generation, the table engine, the local executor."""
