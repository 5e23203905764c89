"""Own videos, indexed: records of files, windows of long videos, the folder of an index, hits."""
