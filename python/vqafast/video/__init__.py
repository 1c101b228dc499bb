"""Sources of frames and the choice of what is scored."""
