"""Training ``a2inet-lite``: semantic backbone, head, cross-validation over sources, export."""
