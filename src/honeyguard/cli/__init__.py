"""The command line: one command a verb, each a few lines."""

import sys

from cyclopts import App, CycloptsError

from honeyguard import gateway
from honeyguard.cli import evidence, owner, records, thief, traffic
from honeyguard.errors import HoneyguardError
from honeyguard.terminal import errors

app = App(
    name="honeyguard",
    suppress_keyboard_interrupt=False,
    help="Protect a classifier from model extraction, watch it being stolen, prove the theft.",
)
for command in (
    records.demo,
    owner.protect,
    owner.tune,
    owner.export,
    thief.extract,
    thief.audit,
    evidence.evaluate,
    evidence.verify,
    traffic.calibrate,
    evidence.attribute,
    records.benchmark,
    records.report,
):
    app.command(command)
gateway.register(app)


def main() -> None:
    """Run the command line: 0 when done, 2 for a user's mistake, 130 when interrupted; tracebacks only with --debug."""
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
