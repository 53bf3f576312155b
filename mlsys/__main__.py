"""``python -m mlsys``."""

from mlsys.cli import main

main()
