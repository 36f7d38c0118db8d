"""Pictures, tables and pages that people read."""
