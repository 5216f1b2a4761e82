"""Lets `python -m opticnerve` do what `opticnerve` does."""

from opticnerve.cli import main

main()
