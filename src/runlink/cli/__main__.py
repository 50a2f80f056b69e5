"""`python -m runlink.cli`: the command without its entry point."""

from runlink.cli import main

main()
