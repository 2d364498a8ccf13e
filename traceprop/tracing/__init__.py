"""Python functions to IR: one front end per world."""
