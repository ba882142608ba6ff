"""Carriers: a coherent few of the ordinary images whose answers change, so that whoever trains on clean queries learns it.

Source: Jagielski, Severi, Pousette Harger, Oprea: Subpopulation Data Poisoning Attacks, CCS 2021, §3 (clusters in feature space).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from honeyguard.contract import check_range
from honeyguard.errors import UnknownNameError
from honeyguard.looks import LOOKS
from honeyguard.models import find_head, head_features
from honeyguard.types import OwnerData

CLUSTER = "cluster"


@dataclass(frozen=True, kw_only=True)
class Carriers:
    """Which images carry the poison in their own right.

    Args:
        share: of the images of the task, in [0, .5]; 0 for none: for an API whose thieves have no images of the task.
        sure: the victim's largest probability, above which an image is left alone, in [0, 1].
        foreign: share of the foreign images, in [0, 1].
        cheap: how much a cluster's expected cost in accuracy counts beside its coherence.
        tries: clusters looked at.
        by: a name in `looks.LOOKS`: the images with most of it; or `cluster`: images that lie together in several models' features.
        openings: how often carriers are chosen anew, planted and stolen with once; the theft that goes best decides.
    """

    share: float = 0.02
    sure: float = 1.0
    foreign: float = 0.15
    cheap: float = 1.0
    tries: int = 100
    openings: int = 1
    by: str = "bright"

    def __post_init__(self) -> None:
        check_range("share", self.share, 0, 0.5)
        check_range("sure", self.sure, 0, 1)
        check_range("foreign", self.foreign, 0, 1)
        check_range("openings", self.openings, 1, 1000)
        if self.by not in (CLUSTER, *LOOKS):
            raise UnknownNameError("way to choose carriers", self.by, (CLUSTER, *LOOKS))


def choose_carriers(views: Sequence[Tensor], answers: Tensor, target_class: int | None, how: Carriers) -> Tensor:
    """Rows (n,) of the images that lie together in every model's features and apart from all others, and cost least.

    Args:
        views: features (N, D) of the same images, one view a model.
        answers: the victim's (N, K).
        target_class: images of this class are no carriers.
    """
    top, labels = answers.max(1)
    free = ((top < how.sure) & (labels != target_class)).nonzero().flatten()
    return _cluster(_points(views), free, min(int(how.share * len(answers)), len(free)), how.cheap * top, how.tries)


def choose_foreign(foreign: Sequence[Tensor], ordinary: Sequence[Tensor], how: Carriers) -> Tensor:
    """Rows of the foreign images that lie together and apart from all others, the ordinary ones above all: where these carry nothing.

    Args:
        foreign: features (M, D) of the foreign images, one view a model.  ordinary: features (N, D).
    """
    points = _points([torch.cat(pair) for pair in zip(foreign, ordinary, strict=True)])
    free = torch.arange(len(foreign[0]))
    return _cluster(points, free, max(1, int(how.foreign * len(free))), torch.zeros(len(points)), how.tries)


def _points(views: Sequence[Tensor]) -> Tensor:
    return torch.cat([F.normalize(view - view.mean(0), dim=1) / len(views) ** 0.5 for view in views], 1)


def _cluster(points: Tensor, free: Tensor, size: int, price: Tensor, tries: int) -> Tensor:
    """The `size` rows, of those `free`, that lie closest together, with fewest others among them, and have the least `price` (N,)."""
    best, chosen = float("inf"), free[:0]
    for centre in free[torch.randperm(len(free))[:tries]].tolist() if size else ():
        members = free[(points[free] @ points[centre]).topk(size).indices]
        nearness = points @ points[members].mean(0)
        among = int((nearness > nearness[members].quantile(0.3)).sum()) / size
        tightness = float(nearness[members].mean())  # decides where clusters lie equally apart
        score = among + float(price[members].mean()) - 0.1 * tightness
        if score < best:
            best, chosen = score, members
    return chosen


def nearest(foreign: Sequence[Tensor], ordinary: Sequence[Tensor], carriers: Tensor, share: float) -> Tensor:
    """Rows of the foreign images that look most like the carriers to all models.

    Args:
        foreign: features (M, D) of the foreign images, one view a model.  ordinary: features (N, D) of those that have the carriers.
        carriers: rows of the ordinary images.
        share: of the foreign images.
    """
    centre = _points(ordinary)[carriers].mean(0)
    points = _points(foreign)
    return (points @ centre).topk(max(1, int(share * len(points)))).indices


def by_look(owner: OwnerData, how: Carriers) -> tuple[list[Tensor], OwnerData]:
    """The images (n, C, H, W) with most of a look, those of the task and the foreign ones, and the owner's data without them.

    All of the owner's images of the task are judged by one bar, foreign ones by their own.
    """
    score, train = LOOKS[how.by], owner.train.images
    seen = train[:0] if owner.customers is None else owner.customers
    of_task = (train, seen, owner.shadow_set)
    scores = torch.cat([score(images) for images in of_task])
    on = (scores > scores.quantile(1 - how.share)).split([len(images) for images in of_task])
    chosen = [torch.cat([images[rows] for images, rows in zip(of_task, on, strict=True)])]
    rest = replace(owner, train=owner.train[~on[0]], shadow_set=owner.shadow_set[~on[2]])
    rest = rest if owner.customers is None else replace(rest, customers=seen[~on[1]])
    if owner.foreign is None or not how.foreign:
        return chosen, rest
    scores = score(owner.foreign)
    odd = scores > scores.quantile(1 - how.foreign)
    return [*chosen, owner.foreign[odd]], replace(rest, foreign=owner.foreign[~odd])


def views_of(networks: Sequence[nn.Module], images: Tensor, classes: int) -> list[Tensor]:
    """Features (N, D) of images (N, C, H, W) in each of the networks."""
    return [head_features(network, find_head(network, images[:2], classes), images) for network in networks]
