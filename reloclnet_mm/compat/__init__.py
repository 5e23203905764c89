"""What makes other packages work where their releases do not."""
