"""The command line ``oarseg``: one module in this folder a command.

A command's module defines ``NAME``, ``HELP`` (one line), ``add_arguments(parser)`` and ``run(args) -> int`` (the
exit code); ``EXAMPLES`` (shown by ``--help``) and ``ORDER`` (place in the list, 50 by default) are optional. It imports
torch and MONAI inside ``run`` only, so that ``oarseg --help`` answers at once. Modules whose name begins with an
underscore are no commands.

Exit codes: 0 done, 1 unexpected error, 2 an error that the message explains, 130 interrupted.
"""

from oarseg.cli._main import main

__all__ = ["main"]
