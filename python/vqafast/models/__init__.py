"""Models: what they are (registry), how they are built (torch modules) and run (runtime)."""
