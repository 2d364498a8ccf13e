"""Other ways to keep the same lineage, for comparison."""
