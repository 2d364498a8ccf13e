"""What is handed to others: the compliance report, as JSON and as one HTML page."""

from traceprop.reports.compliance import compliance_report

__all__ = ["compliance_report"]
