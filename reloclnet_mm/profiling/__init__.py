"""What ``tools/analysis_tools/profile_speed.py`` measures."""
