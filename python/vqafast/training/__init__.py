"""Training: data synthesis, features, losses, metrics and the trainer (needs the extra ``train``)."""
