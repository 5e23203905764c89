"""Making features out of raw text."""
