"""The command line. Each command's module is imported when it is called, so that --help is quick; nothing here knows a database."""

from mlsys.cli.group import main

__all__ = ["main"]
