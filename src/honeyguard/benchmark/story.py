"""One seed of a suite, from victim to verdict: every step is a cell of the store."""

import copy
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from honeyguard import data
from honeyguard.attacks import ANSWERS, LAUNDERINGS, QUERIES, TRAININGS, Extraction
from honeyguard.benchmark.spec import Source, Suite, Thief, described, made
from honeyguard.benchmark.store import Cell, Made, Store
from honeyguard.contract import check_disjoint
from honeyguard.defenses import DEFENSES
from honeyguard.defenses.honeypot.kept import kept_head, with_kept_head
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.metrics import accuracy
from honeyguard.oracle import Averaged, Local, predict
from honeyguard.repro import derive, seeded
from honeyguard.training import Network
from honeyguard.types import Labelled, OwnerData, OwnerKey, Protected, Trigger
from honeyguard.verbs import evaluate, extract, verify
from honeyguard.verification import TriggerTest
from honeyguard.verification.controls import train_innocent


@dataclass(frozen=True)
class Suspect:
    """A model that stands trial, with what it is: a thief's substitute, laundered or not, an innocent model or the victim itself."""

    role: str
    label: str
    cell: Cell
    model: nn.Module
    defense: str | None = None
    thief: Thief | None = None
    laundering: str | None = None


@dataclass(frozen=True, eq=False)
class Guarded:
    """A defense chain applied to the victim, and the cell that holds it."""

    name: str
    cell: Cell
    protected: Protected


@dataclass(frozen=True)
class Story:
    """One seed of a suite. Cells are computed when they are first asked for, in the order of `record`."""

    suite: Suite
    seed: int
    store: Store
    data_root: Path

    # ------------------------------------------------------------------------------------------------------------ data

    @cached_property
    def labelled(self) -> Labelled:
        return self._load(self.suite.data.images)

    @cached_property
    def parts(self) -> dict[str, Labelled]:
        d = self.suite.data
        sizes = {"victim": d.victim, "shadow": d.shadow, "thief": d.thief}
        if d.customers:
            sizes["customers"] = d.customers
        if d.test is None:
            sizes["test"] = 0
        parts = data.split(self.labelled, sizes, derive(self.seed, "split"))
        if d.test is not None:
            parts["test"] = self._load(d.test)
        check_disjoint({name: part.images for name, part in parts.items()})
        return parts

    @cached_property
    def data_id(self) -> str:
        """Hash of every tensor of the parts, so that other data make other cells."""
        digest = hashlib.sha256()
        for part in self.parts.values():
            digest.update(part.images.numpy().tobytes() + part.labels.numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def pools(self) -> dict[str, Tensor]:
        clean = self.parts["thief"].images
        held_out = data.distorted(clean, self.suite.data.distortions, derive(self.seed, "pool"))
        few = clean[: self.suite.data.few]
        return {"clean": clean, "held_out": held_out, "few": few, **{name: self._load(s).images for name, s in self.suite.pools.items()}}

    @cached_property
    def shadow_set(self) -> Tensor:
        return data.distorted(self.parts["shadow"].images, self.suite.data.distortions, derive(self.seed, "shadow set"))

    @cached_property
    def foreign(self) -> Tensor | None:
        source = self.suite.data.foreign
        return self._load(source).images if source else None

    @cached_property
    def owner(self) -> OwnerData:
        customers = self.parts.get("customers")
        return OwnerData(self.parts["victim"], self.shadow_set, customers.images if customers else None, self.foreign)

    def _load(self, source: Source) -> Labelled:
        local = self.data_root / source.source
        where = str(local) if local.exists() else source.source
        limit = None if source.limit is None else source.skip + source.limit
        return data.load(where, source.split, shape=source.shape, limit=limit)[source.skip :]

    # ---------------------------------------------------------------------------------------------------------- models

    def _restored(self, network: Network, cell: Cell) -> nn.Module:
        model = network.fresh(self.labelled.shape, self.labelled.classes, 0)
        model.load_state_dict(cell.tensors())
        return model.eval()

    @cached_property
    def victim(self) -> Suspect:
        spec, part = self.suite.victim, self.parts["victim"]

        def train() -> Made:
            return {}, spec.trained(part.images, part.labels, part.classes, derive(self.seed, "victim")).state_dict()

        cell = self.store.cell("victim", spec.model, asdict(spec) | {"seed": self.seed}, [self.data_id], train)
        return Suspect("victim", "the victim itself", cell, self._restored(spec, cell))

    def innocent(self, index: int) -> Suspect:
        """A model of the same task that never saw the API, on its own share of the victim's and thief's labelled images."""
        spec = self.suite.innocents
        network = spec.networks[index % len(spec.networks)]
        seed = derive(self.seed, "innocent", index)

        def train() -> Made:
            mine, other = self.parts["victim"], self.parts["thief"]
            both = Labelled(torch.cat([mine.images, other.images]), torch.cat([mine.labels, other.labels]), mine.names)
            return {}, train_innocent(both, network, spec.images or len(mine), seed).state_dict()

        arguments = asdict(network) | {"seed": self.seed, "index": index, "images": spec.images}
        label = f"innocent {index + 1} ({network.model})"
        cell = self.store.cell("innocent", label, arguments, [self.data_id], train)
        role = "calibration" if index < spec.calibration else "innocent"
        return Suspect(role, label, cell, self._restored(network, cell))

    # --------------------------------------------------------------------------------------------------------- defense

    @cached_property
    def guarded(self) -> dict[str, Guarded]:
        return {name: self._protect(name, chain) for name, chain in self.suite.defenses.items()}

    def _protect(self, name: str, chain: tuple[dict[str, Any], ...]) -> Guarded:
        if not chain:
            return Guarded(name, self.victim.cell, Protected.of(self.victim.model))
        before = self._protect(name, chain[:-1])
        defense = made("defense", DEFENSES, chain[-1])
        if isinstance(defense, OutputDefense):  # little to compute, nothing to keep
            with seeded(derive(self.seed, "defense")):
                return Guarded(name, before.cell, defense.protect(before.protected, self.owner))
        seed = derive(self.seed, "defense")

        def protect() -> Made:
            with seeded(seed):
                done = defense.protect(before.protected, self.owner)
            return {"defense": repr(defense), "kept_top1": kept_head(done.network)}, dict(done.network.state_dict()) | _key_tensors(
                done.key
            )

        spec = {"defense": repr(defense), "seed": self.seed}
        cell = self.store.cell(
            "defense", name, spec, [before.cell.id, *(_hash(t) for t in (self.shadow_set, self.foreign) if t is not None)], protect
        )
        tensors = cell.tensors()
        key = _key_from(tensors)
        network = with_kept_head(Protected.of(before.protected.network).network, cell.results["kept_top1"])
        network.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("owner_key.")})
        return Guarded(name, cell, Protected(network, before.protected.outputs, key, (*before.protected.defenses, defense)))

    # ---------------------------------------------------------------------------------------------------------- thefts

    def theft(self, guarded: Guarded, thief: Thief) -> Suspect:
        thief = self.suite.informed(thief, guarded.name)
        seed = derive(self.seed, "theft", thief.twins or thief.name)
        pool = self.pools[thief.pool]
        clients = [guarded, *(self.guarded[name] for name in thief.colluding)]

        def steal() -> Made:
            attack = Extraction(
                budget=thief.budget,
                query=made("query strategy", QUERIES, thief.query),
                answer=made("answer strategy", ANSWERS, thief.answer),
                training=made("training strategy", TRAININGS, thief.training),
                recipe=thief.network.recipe,
                seed=seed,
            )
            oracle = Averaged([Local(client.protected) for client in clients])
            substitute = extract(oracle, pool, thief.network.fresh(self.labelled.shape, self.labelled.classes, seed), attack)
            return {"attack": repr(attack), "queries": thief.budget}, substitute.state_dict()

        spec = asdict(thief) | {"seed": self.seed, "outputs": [repr(client.protected.outputs) for client in clients]}
        label = f"{guarded.name} / {thief.name}"
        cell = self.store.cell("theft", label, spec, [*(client.cell.id for client in clients), _hash(pool)], steal)
        role = "stolen" if guarded.protected.key else "undefended"
        return Suspect(role, label, cell, self._restored(thief.network, cell), guarded.name, thief)

    def laundered(self, stolen: Suspect, name: str) -> Suspect:
        own, entry = self.parts["thief"][: self.suite.data.own], self.suite.launderings[name]
        seed = derive(self.seed, "laundering", name)

        def launder() -> Made:
            laundering = made("laundering", LAUNDERINGS, entry)
            network = laundering.launder(stolen.model, own, self.parts["thief"].images, seed)
            return {"laundering": repr(laundering)}, network.state_dict()

        label = f"{stolen.label} / {name}"
        cell = self.store.cell("laundering", label, entry | {"own": len(own)}, [stolen.cell.id, self.data_id], launder)
        model = copy.deepcopy(stolen.model)
        model.load_state_dict(cell.tensors())
        return replace(stolen, role="laundered", label=label, cell=cell, model=model, laundering=name)

    @cached_property
    def suspects(self) -> list[Suspect]:
        count = self.suite.innocents.calibration + self.suite.innocents.trial
        thefts = [
            self.theft(guarded, thief)
            for guarded in self.guarded.values()
            for thief in self.suite.attacks
            if not thief.against or guarded.name in thief.against
        ]
        laundered = [self.laundered(s, name) for s in thefts if s.role == "stolen" for name in self.suite.launderings]
        return [*thefts, *laundered, self.victim, *(self.innocent(i) for i in range(count))]

    # ---------------------------------------------------------------------------------------------------- measurements

    @cached_property
    def keys(self) -> dict[str, OwnerKey]:
        """Owner keys by the defense that made them, calibrated; chains that share a honeypot share its key."""
        keys: dict[str, OwnerKey] = {}
        for name, guarded in self.guarded.items():
            key = guarded.protected.key
            if key and key.commitment not in {known.commitment for known in keys.values()}:
                keys[name] = key.calibrated([self._score(s, key) for s in self.suspects if s.role == "calibration"])
        return keys

    def _score(self, suspect: Suspect, key: OwnerKey) -> float:
        cell = self.store.cell(
            "score",
            suspect.label,
            {"key": key.commitment},
            [suspect.cell.id],
            lambda: ({"score": TriggerTest().score(suspect.model, key)}, {}),
        )
        return float(cell.results["score"])

    def _measured(self, suspect: Suspect) -> dict[str, Any]:
        """A suspect's clean accuracy and fidelity, and under each key its ASR and, unless it calibrated the null, a verdict."""
        reference = self.guarded[suspect.defense].protected if suspect.defense else Protected.of(self.victim.model)

        def measure() -> Made:
            results: dict[str, Any] = {"trials": {}}
            for name, key in self.keys.items():
                evaluation = asdict(evaluate(suspect.model, reference.model, self.parts["test"], key))
                untried = suspect.role == "calibration" or not key.calibration
                verdict = None if untried else asdict(verify(suspect.model, key, key.calibration))
                results["trials"][name] = {key: evaluation.pop(key) for key in ("attack_success", "decoy_success")} | {"verdict": verdict}
                results |= {key: evaluation[key] for key in ("accuracy", "fidelity")}
            if not self.keys:
                results |= {k: v for k, v in asdict(evaluate(suspect.model, reference.model, self.parts["test"])).items() if v}
            return results, {}

        spec = {name: [key.commitment, *key.calibration] for name, key in self.keys.items()} | {"outputs": repr(reference.outputs)}
        cell = self.store.cell("measure", suspect.label, spec, [suspect.cell.id, self.victim.cell.id, self.data_id], measure)
        known = {
            "role": suspect.role,
            "label": suspect.label,
            "defense": suspect.defense,
            "laundering": suspect.laundering,
            "key": self._key_of(suspect),
            "cell": suspect.cell.id,
        }
        thief = suspect.thief and {
            "name": suspect.thief.name,
            "pool": suspect.thief.pool,
            "query": described(suspect.thief.query),
            "answer": described(suspect.thief.answer),
            "training": described(suspect.thief.training),
            "queries": suspect.thief.budget,
        }
        return known | {"thief": thief} | cell.results

    @cached_property
    def victim_accuracy(self) -> dict[str, float]:
        answers = predict(self.victim.model, self.parts["test"].images)
        return accuracy(answers, self.parts["test"].labels).record()

    def _key_of(self, suspect: Suspect) -> str | None:
        """The name of the key whose backdoor a suspect should carry."""
        own = self.guarded[suspect.defense].protected.key if suspect.defense else None
        return next((name for name, key in self.keys.items() if own and key.commitment == own.commitment), None)

    def _utility(self, guarded: Guarded) -> dict[str, Any]:
        """What customers get from a protected model, beside the victim."""

        def measure() -> Made:
            victim, test = Protected.of(self.victim.model).model, self.parts["test"]
            evaluation = asdict(evaluate(guarded.protected.model, victim, test, guarded.protected.key))
            return evaluation | {"cost_points": 100 * (self.victim_accuracy["value"] - evaluation["accuracy"]["value"])}, {}

        spec = {"outputs": repr(guarded.protected.outputs)}
        cell = self.store.cell("utility", guarded.name, spec, [guarded.cell.id, self.data_id], measure)
        chain = [repr(defense) for defense in guarded.protected.defenses]
        key = guarded.protected.key
        known = {"name": guarded.name, "defenses": chain, "commitment": key and key.commitment}
        return known | {"cpu_seconds": guarded.cell.record["cpu_seconds"]} | cell.results

    def record(self) -> dict[str, Any]:
        """The whole story as plain figures."""
        return {
            "seed": self.seed,
            "sizes": {name: len(part) for name, part in self.parts.items()},
            "target_class": {name: key.target_class for name, key in self.keys.items()},
            "victim_accuracy": self.victim_accuracy,
            "victim_cpu_seconds": self.victim.cell.record["cpu_seconds"],
            "defenses": [self._utility(guarded) for guarded in self.guarded.values()],
            "suspects": [self._measured(suspect) for suspect in self.suspects],
        }


def _key_tensors(key: OwnerKey | None) -> dict[str, Tensor]:
    if key is None:
        return {}
    tensors = {"delta": key.trigger.delta, "mask": key.trigger.mask, "probes": key.probes}
    tensors |= {"classes": torch.tensor([key.target_class, key.classes]), "nonce": torch.tensor(list(bytes.fromhex(key.nonce)))}
    return {f"owner_key.{name}": tensor for name, tensor in tensors.items()}


def _key_from(tensors: Mapping[str, Tensor]) -> OwnerKey | None:
    t = {name.removeprefix("owner_key."): tensor for name, tensor in tensors.items() if name.startswith("owner_key.")}
    if not t:
        return None
    target, classes = t["classes"].tolist()
    return OwnerKey(Trigger(t["delta"], t["mask"]), target, classes, t["probes"], bytes(t["nonce"].tolist()).hex())


def _hash(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


def cells_of(suite: Suite) -> Iterator[str]:
    """One item a cell that a seed of the suite needs at least, for a progress bar."""
    innocents = suite.innocents.calibration + suite.innocents.trial
    thefts = sum(len(thief.against) or len(suite.defenses) for thief in suite.attacks)
    planted = {name for name, chain in suite.defenses.items() if any(entry.get("name") == "honeypot" for entry in chain)}
    copies = sum(len(planted & set(thief.against or suite.defenses)) for thief in suite.attacks) * len(suite.launderings)
    honeypots = [repr(entry) for chain in suite.defenses.values() for entry in chain if entry.get("name") == "honeypot"]
    counts = {
        "victim": 1,
        "defense": len(honeypots),
        "theft": thefts,
        "laundering": copies,
        "innocent": innocents,
        "score": len(set(honeypots)) * suite.innocents.calibration,
        "utility": len(suite.defenses),
        "measure": thefts + copies + innocents + 1,
    }
    for kind, count in counts.items():
        yield from [kind] * count
