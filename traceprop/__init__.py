"""traceprop: data lineage as a property of the program."""
