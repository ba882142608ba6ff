"""A record as the page needs it: defenses, thefts, controls and trials, each figure with its place in the record."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from honeyguard.report.figures import NOTHING, Figure, Line, average, number, pointer, title

Record = Mapping[str, Any]

GROUPS = {
    "stolen": ("Copies of the model with the honeypot", "The thieves. The test should convict them."),
    "foreign": ("Copies of a model with another honeypot", "They carry another mark. The test with this key should clear them."),
    "undefended": ("Copies of the model without a honeypot", "They were taken before any mark was there. The test should clear them."),
    "victim": ("The owner’s own model before protection", "It carries no mark. The test should clear it."),
    "innocent": ("Models that never saw the API", "Trained on their own. The test should clear them."),
}

ANSWERS = {"as_given": "uses the probabilities", "top1": "uses the labels alone"}

READINGS = {"as_given": "answers as given", "top1": "labels alone"}

DECOYS = "random patches"
CONTROLS = {
    "innocent models": "models that never saw the API",
    "substitutes of the undefended victim": "copies of the model without a honeypot",
    "the victim itself": "the owner’s own model before protection",
    DECOYS: "random patterns on all models",
}


@dataclass(frozen=True)
class Defense:
    """What customers get from one defense."""

    name: str
    title: str
    chain: tuple[str, ...]
    commitment: str | None
    accuracy: Figure
    cost: Figure
    kept: Figure
    l1: Figure
    kl: Figure
    gain: Figure
    gain_bits: Figure


@dataclass(frozen=True)
class Theft:
    """What one thief got from one defense; `asr` under the key of that defense, or under the first key."""

    label: str
    title: str
    defense: str
    thief: str
    how: str
    stolen: bool
    accuracy: Figure
    fidelity: Figure
    asr: Figure
    decoys: Figure


@dataclass(frozen=True)
class Control:
    """How the trigger fares on one kind of models that did not steal from the honeypot."""

    kind: str
    asr: Figure

    @property
    def title(self) -> str:
        return CONTROLS.get(self.kind, self.kind)


@dataclass(frozen=True)
class Trial:
    """One suspect under one key."""

    group: str
    label: str
    key: str
    first_seed: bool
    statistic: Figure
    p_value: Figure
    rank_p_value: Figure
    false_positive_rate: Figure
    triggered: Figure
    decoys: Figure
    queries: Figure
    controls: int
    conclusion: str

    @property
    def convicted(self) -> bool | None:
        """What the test says at its false-positive rate; None where it gave no p-value."""
        return self.p_value.value <= self.false_positive_rate.value if self.p_value.known else None

    @property
    def right(self) -> bool | None:
        return None if self.convicted is None else self.convicted == (self.group == "stolen")


@dataclass(frozen=True)
class View:
    """A record, read once."""

    record: Record

    @cached_property
    def stories(self) -> list[Record]:
        return list(self.record["stories"])

    @property
    def first(self) -> Record:
        return self.stories[0]

    @property
    def seeds(self) -> int:
        return len(self.stories)

    @property
    def pictures(self) -> Record | None:
        return self.record.get("pictures")

    @property
    def shows_key(self) -> bool:
        return bool(self.pictures and self.pictures.get("trigger"))

    @property
    def strength(self) -> Figure:
        """The most that the trigger changes a pixel, as a share of the range."""
        return Figure(number((self.pictures or {}).get("strength")), source=pointer("pictures", "strength"))

    @cached_property
    def headline(self) -> dict[str, Figure]:
        return {name: Figure(number(value), source=pointer("headline", name)) for name, value in self.record["headline"].items()}

    @cached_property
    def victim_accuracy(self) -> Figure:
        bare = next((defense.accuracy for defense in self.defenses if not defense.chain), NOTHING)
        values = [number(s["accuracy"]["value"]) for story in self.stories for s in story["suspects"] if s["role"] == "victim"]
        return bare if bare.known else average(values)

    @cached_property
    def defenses(self) -> list[Defense]:
        return [self._defense(row) for row in self.first["defenses"]]

    def _defense(self, row: Record) -> Defense:
        over, at = self.record["summary"]["defenses"][row["name"]], ("summary", "defenses", row["name"])
        single = row["distortion"]
        distortion = {k: self._figure(value, single.get(k), *at, "distortion", k) for k, value in over["distortion"].items()}
        return Defense(
            name=row["name"],
            title=title(row["name"]) if row["defenses"] else "no defense",
            chain=tuple(row["defenses"]),
            commitment=row["commitment"],
            accuracy=self._figure(over["served_accuracy"], row["accuracy"], *at, "served_accuracy"),
            cost=self._figure(over["cost_points"], None, *at, "cost_points"),
            kept=self._figure(over["top1_kept"], row["fidelity"], *at, "top1_kept"),
            l1=distortion.get("l1", NOTHING),
            kl=distortion.get("kl", NOTHING),
            gain=distortion.get("entropy_gain", NOTHING),
            gain_bits=distortion.get("entropy_gain_bits", NOTHING),
        )

    def _figure(self, over: Record | None, single: Record | None, *path: str) -> Figure:
        """The mean over seeds; with one seed the interval of that seed's own images."""
        chosen = (over if self.seeds > 1 else single) or {}
        value = number((over or {}).get("value"))
        return Figure(value, number(chosen.get("low")), number(chosen.get("high")), pointer(*path, "value"))

    @cached_property
    def keys(self) -> dict[str, str]:
        """The name of the key of every defense with a honeypot; chains that share a honeypot share its key."""
        makers: dict[str, str] = {}
        for defense in self.defenses:
            if defense.commitment:
                makers.setdefault(defense.commitment, defense.name)
        return {d.name: makers[d.commitment] for d in self.defenses if d.commitment}

    @cached_property
    def thefts(self) -> list[Theft]:
        return [self._theft(suspect) for suspect in self.first["suspects"] if suspect["thief"]]

    def _theft(self, suspect: Record) -> Theft:
        label, thief = suspect["label"], suspect["thief"]
        over, at = self.record["summary"]["thefts"][label], ("summary", "thefts", label)
        key = self.keys.get(suspect["defense"]) or next(iter(over["asr"]), "")
        trial = suspect["trials"].get(key, {})
        trials = [s["trials"].get(key, {}) for story in self.stories for s in story["suspects"] if s["label"] == label]
        parts = (f"{thief['queries']:,} queries", f"images: {title(thief['pool'])}", ANSWERS.get(thief["answer"], title(thief["answer"])))
        return Theft(
            label=label,
            title=self._title(suspect),
            defense=suspect["defense"],
            thief=thief["name"],
            how=", ".join(parts),
            stolen=suspect["role"] == "stolen",
            accuracy=self._figure(over["accuracy"], suspect["accuracy"], *at, "accuracy"),
            fidelity=self._figure(over["fidelity"], suspect["fidelity"], *at, "fidelity"),
            asr=self._figure(over["asr"].get(key), trial.get("attack_success"), *at, "asr", key),
            decoys=average([number((trial.get("decoy_success") or {}).get("value")) for trial in trials]),
        )

    def _title(self, suspect: Record) -> str:
        if not suspect["thief"]:
            return str(suspect["label"])
        return f"{self._defense_title(suspect['defense'])} · {title(suspect['thief']['name'])}"

    def _defense_title(self, name: str) -> str:
        return next((defense.title for defense in self.defenses if defense.name == name), title(name))

    @cached_property
    def curves(self) -> list[Line]:
        """Accuracy of copies against queries, where a suite has several budgets; a line a defense and reading of its answers."""
        return [
            Line(
                f"{self._defense_title(curve['defense'])}, {READINGS.get(curve['reading'], title(curve['reading']))}",
                [point["queries"] for point in curve["points"]],
                [
                    self._figure(p["accuracy"], p["accuracy"], "summary", "curves", str(i), "points", str(j), "accuracy")
                    for j, p in enumerate(curve["points"])
                ],
            )
            for i, curve in enumerate(self.record["summary"].get("curves", ()))
        ]

    @property
    def stolen(self) -> list[Theft]:
        return [theft for theft in self.thefts if theft.stolen]

    @property
    def undefended(self) -> list[Theft]:
        return [theft for theft in self.thefts if not theft.stolen]

    @cached_property
    def controls(self) -> list[Control]:
        over = self.record["summary"].get("controls") or {}
        return [Control(kind, self._control(kind, over[kind])) for kind in over]

    def _control(self, kind: str, over: Record) -> Figure:
        """A mean over models; the interval of the single model's own images where there is but one."""
        figure = Figure(number(over["value"]), number(over["low"]), number(over["high"]), pointer("summary", "controls", kind, "value"))
        if figure.has_interval or over["n"] > 1:
            return figure
        rates = [t["attack_success"] for s in self.first["suspects"] if s["role"] == "victim" for t in s["trials"].values()]
        single: Record = next((rate for rate in rates if rate and number(rate["value"]) == figure.value), {})
        return Figure(figure.value, number(single.get("low")), number(single.get("high")), figure.source)

    @cached_property
    def trials(self) -> list[Trial]:
        """Every suspect on trial, of every seed."""
        return list(self._trials())

    def _trials(self) -> Iterator[Trial]:
        for i, story in enumerate(self.stories):
            for j, suspect in enumerate(story["suspects"]):
                for key, trial in suspect["trials"].items():
                    if trial.get("verdict"):
                        yield self._trial(suspect, key, trial["verdict"], i == 0, ("stories", i, "suspects", j, "trials", key, "verdict"))

    def _trial(self, suspect: Record, key: str, verdict: Record, first_seed: bool, at: tuple[str | int, ...]) -> Trial:
        role = suspect["role"]
        foreign = role == "stolen" and self.keys.get(suspect["defense"], key) != key
        figures = {
            name: Figure(number(verdict[name]), source=pointer(*at, name))
            for name in ("statistic", "p_value", "rank_p_value", "false_positive_rate", "triggered", "decoys")
        }
        return Trial(
            group="foreign" if foreign else role if role in GROUPS else "innocent",
            label=self._title(suspect),
            key=key,
            first_seed=first_seed,
            queries=Figure(number(verdict["queries"]), source=pointer(*at, "queries")),
            controls=int(verdict["controls"] or 0),
            conclusion=verdict["conclusion"],
            **figures,
        )

    def grouped(self) -> list[tuple[str, str, list[Trial]]]:
        """The first seed's trials: group title, what should come out, rows."""
        groups = ((*words, [t for t in self.trials if t.first_seed and t.group == group]) for group, words in GROUPS.items())
        return [group for group in groups if group[2]]

    @property
    def false_positive_rate(self) -> Figure:
        return self.trials[0].false_positive_rate if self.trials else NOTHING

    def tally(self, group: str) -> tuple[int, int]:
        """Convicted and tried, over all seeds."""
        tried = [trial for trial in self.trials if trial.group == group and trial.convicted is not None]
        return sum(bool(trial.convicted) for trial in tried), len(tried)

    @property
    def convicted(self) -> tuple[int, int]:
        return self.tally("stolen")

    @property
    def false_alarms(self) -> tuple[int, int]:
        """Accused and tried, of all suspects that carry no mark of the key."""
        tallies = [self.tally(group) for group in GROUPS if group != "stolen"]
        return sum(accused for accused, _ in tallies), sum(tried for _, tried in tallies)

    @property
    def main(self) -> Defense | None:
        """The defense that the story is about: the first honeypot, else the first defense at all."""
        return next((d for d in self.defenses if d.commitment), next((d for d in self.defenses if d.chain), None))
