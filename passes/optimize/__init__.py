"""Program to program: one pass a file."""
