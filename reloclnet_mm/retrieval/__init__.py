"""After encoding: the best videos and moments of a corpus."""
