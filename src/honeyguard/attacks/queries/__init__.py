"""Query strategies: which images a thief sends. A new one is one file and one line here."""

from honeyguard.attacks.queries.activethief import Entropy, EntropyKCenter, KCenter
from honeyguard.attacks.queries.augsteal import AugSteal
from honeyguard.attacks.queries.dfme import DFME
from honeyguard.attacks.queries.dissector import Dissector
from honeyguard.attacks.queries.jbda import JBDA, JBDATargeted
from honeyguard.attacks.queries.knockoff import AdaptiveKnockoff
from honeyguard.attacks.queries.maze import MAZE
from honeyguard.attacks.queries.ordinary import Ordinary
from honeyguard.attacks.queries.random import RandomQueries
from honeyguard.attacks.queries.repeated import Repeated
from honeyguard.attacks.queries.spsg import SPSG
from honeyguard.types import QueryStrategy

QUERIES: dict[str, type[QueryStrategy]] = {
    "random": RandomQueries,
    "adaptive": AdaptiveKnockoff,
    "entropy": Entropy,
    "k_center": KCenter,
    "entropy_k_center": EntropyKCenter,
    "jbda": JBDA,
    "jbda_targeted": JBDATargeted,
    "dissector": Dissector,
    "spsg": SPSG,
    "augsteal": AugSteal,
    "repeated": Repeated,
    "ordinary": Ordinary,
    "dfme": DFME,
    "maze": MAZE,
}
