"""`honeyguard` and `python -m honeyguard`: the gateway's commands by themselves, because they need no PyTorch, or all commands."""

import sys

from cyclopts import App

from honeyguard.gateway import COMMANDS, register
from honeyguard.running import run


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        app = App(name="honeyguard", suppress_keyboard_interrupt=False)
        register(app)
    else:
        from honeyguard.cli import app
    run(app)


if __name__ == "__main__":
    main()
