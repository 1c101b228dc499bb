"""Backbones: torch modules that map frames to a tuple of stage maps, and where their weights are.

`official`, `table` and `weights` need no torch; the others do.
"""
