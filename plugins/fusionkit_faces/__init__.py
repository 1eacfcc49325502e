"""Region extractors."""
