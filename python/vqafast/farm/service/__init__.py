"""Scores over HTTP: ``vqafast serve``."""
