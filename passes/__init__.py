"""Pure functions: program to program, and gradients to scores."""
