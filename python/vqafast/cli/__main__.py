"""``python -m vqafast.cli``."""

from vqafast.cli import main

main()
