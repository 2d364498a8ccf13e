"""`traceprop demo`: from two CSV files to an explained prediction, a corrected model and a report."""
