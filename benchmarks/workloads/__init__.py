"""What the overhead suite runs: each module a group of workloads, in a process of its own (`apart.py`)."""
