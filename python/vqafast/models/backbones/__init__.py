"""Backbones: torch modules that map frames to a tuple of stage maps. All need torch."""
