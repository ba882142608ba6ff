"""Query strategies: which images a thief sends. A new one is one file and one line here."""

from honeyguard.attacks.queries.random import RandomQueries
from honeyguard.types import QueryStrategy

QUERIES: dict[str, type[QueryStrategy]] = {"random": RandomQueries}
