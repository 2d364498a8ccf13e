"""What the command line does beyond the demo: one command, one file."""
