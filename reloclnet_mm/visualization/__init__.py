"""Pictures of what a model answers; drawing needs matplotlib."""
