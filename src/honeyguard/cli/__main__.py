"""`python -m honeyguard.cli`."""

from honeyguard.cli import main

main()
