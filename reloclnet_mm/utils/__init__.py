"""What several parts of the package share."""
