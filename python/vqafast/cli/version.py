"""``vqafast version``."""

from __future__ import annotations


def command() -> None:
    """Print the version."""
    import vqafast

    print(f"vqafast {vqafast.__version__}")
