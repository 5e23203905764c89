"""Evaluating several models on the same queries and videos, and the report of it."""
