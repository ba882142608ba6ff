"""The command line: one command a verb, each a few lines."""

from cyclopts import App

from honeyguard import gateway
from honeyguard.cli import evidence, owner, records, thief, traffic

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
