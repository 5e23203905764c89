"""Make other packages work where their releases do not."""
