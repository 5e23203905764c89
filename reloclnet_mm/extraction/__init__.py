"""What makes features: text and timed subtitles."""
