"""How the command line runs a command, and ends."""

import sys

from cyclopts import App, CycloptsError
from rich.console import Console

from honeyguard.errors import HoneyguardError

errors = Console(stderr=True)


def run(app: App) -> None:
    """Exit with 0 when done, 2 for a user's mistake, 130 when interrupted; tracebacks only with --debug."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except (HoneyguardError, CycloptsError) as error:
        if "--debug" in sys.argv:
            raise
        errors.print("honeyguard:", error, *getattr(error, "__notes__", ()), markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt as error:
        errors.print("honeyguard: interrupted; nothing half-written was left.", *getattr(error, "__notes__", ()), soft_wrap=True)
        sys.exit(130)
