"""What of each front end is covered: one module per front end, and the page that is made of what was found.

A module has `functions()`, the families and the names in them, `found(family, name)`, the `Finding` of one, and `left_out()`,
names without a case and why.
"""
