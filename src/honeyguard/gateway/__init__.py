"""The model in production: the Open Inference Protocol v2 with clients, budgets, detection and a ledger. Closed by default."""

from cyclopts import App

COMMANDS = {
    "serve": "Serve a protected model, or stand in front of a server that is already there.",
    "clients": "The gateway's clients and their API keys.",
    "ledger": "What the gateway has answered, tamper-evident.",
}


def register(app: App) -> None:
    """Put the gateway's commands on a command line. They are imported when used, because they need the extra `serve`."""
    for name, text in COMMANDS.items():
        app.command(f"honeyguard.gateway.commands:{name}", name=name, help=text)
