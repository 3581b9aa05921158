"""`python -m scsafety`."""

from scsafety.cli import main

main()
