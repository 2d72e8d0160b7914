"""What is done to frames before any analysis, and the geometry of windows."""
