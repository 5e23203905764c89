"""What ``tools/analysis_tools/benchmark.py`` measures."""
