"""Checkpoints that are read as data and written whole."""
