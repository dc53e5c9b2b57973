"""The command line ``oarseg``: one module in this folder for each command.

A command's name and one-line help stand in ``_main.COMMANDS``. Its module defines ``add_arguments(parser)``,
``run(args) -> int`` (the exit code) and, if there are any, ``EXAMPLES`` (shown by ``--help``). Only the module of the
command that runs is imported.

Exit codes: 0 done, 1 unexpected error or a failed case of a batch, 2 an error that the message explains, 3 no organ was
found, 130 interrupted.
"""

from oarseg.cli._main import main

__all__ = ["main"]
