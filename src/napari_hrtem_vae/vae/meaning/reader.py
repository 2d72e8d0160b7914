"""The reader: a small network that tells kinds of change, and by how much, from features of sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from ...errors import ModelFileError
from .known_changes import KINDS, MEASURES

Float = NDArray[np.float32]
Bools = NDArray[np.bool_]
# Measures are of order 1 in these units: degrees, px, per cent.
UNITS = np.array([5.0, 30.0, 40.0], np.float32)
# Which kinds each measure is of, as indices of `KINDS`.
KINDS_OF_MEASURE = ([3], [1, 2], [5])
_FARTHEST = 5.0
# Neighbours within about as many sites that are read: for kinds, and for each of `MEASURES`. A crystal turns
# as one: twice as far takes four tenths of the error away, and mixes what small neighbours do.
_POOLED_SITES, _POOLED_BY_MEASURE = 1.2, (2.0, 1.2, 1.2)
# Less than any weight that counts.
_LEAST_WEIGHT = np.float32(1e-6)
# One site's word against a kind weighs no more than this.
_LEAST_PROBABILITY = np.float32(1e-4)
# Sites that are read at a time: each is copied a few times.
_AT_ONCE = 1 << 13
_LOG_VARIANCES = (-7.0, 4.0)
# Measures with larger errors are of no use, and not given: degrees, px, per cent.
LARGEST_ERRORS = (1.5, 20.0, 15.0)


@dataclass(frozen=True)
class ReaderCard:
    """What a reader reads, and how well it did on scenes of its own kind that it was not trained on.

    Parameters
    ----------
    model : str
        Name of the model.
    model_checksum : str
    features, width : int
        Of the network.
    measured_from : int
        How many of the features, from the first, a network of its own tells measures from; 0: one network
        tells kinds and measures from all.
    record : dict
        Scenes, seed, and what validation found.
    """

    model: str
    model_checksum: str
    features: int
    width: int = 128
    measured_from: int = 0
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What sites show.

    Parameters
    ----------
    probability : ndarray (n, kind), float32
        Of each of `KINDS`.
    measure, error : ndarray (n, measure), float32
        Each of `MEASURES`, if that is what happens, and its standard error.
    """

    probability: Float
    measure: Float
    error: Float


class Reader(nn.Module):
    """Features to kinds and measures.

    Parameters
    ----------
    card : ReaderCard
    """

    middle: Tensor
    spread: Tensor
    error_scale: Tensor

    def __init__(self, card: ReaderCard) -> None:
        super().__init__()
        self.card = card
        self.register_buffer("middle", torch.zeros(card.features))
        self.register_buffer("spread", torch.ones(card.features))
        # What validation found the errors to be too small by.
        self.register_buffer("error_scale", torch.ones(len(MEASURES)))
        kinds, measures = len(KINDS), 2 * len(MEASURES)
        apart = card.measured_from > 0
        self.layers = _network(card.features, card.width, kinds if apart else kinds + measures)
        self.measure_layers = _network(card.measured_from, card.width, measures) if apart else None

    def normalised(self, features: Float) -> Tensor:
        """Features of zero mean and unit spread, the farthest drawn in; those that it does not read are
        left out.

        Raises
        ------
        ModelFileError
            It reads more of them than there are.
        """
        if features.shape[1] < self.card.features:
            raise ModelFileError(
                f"The calibration of {self.card.model} reads {self.card.features} features of a site "
                f"and there are {features.shape[1]}; calibrate the model again."
            )
        x = torch.from_numpy(np.ascontiguousarray(features[:, : self.card.features], np.float32))
        return ((x - self.middle) / self.spread).clamp(-_FARTHEST, _FARTHEST)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of kinds, measures in `UNITS`, and the log of their variances, of normalised features."""
        out = self.layers(x)
        if self.measure_layers is not None:
            out = torch.cat([out, self.measure_layers(x[:, : self.card.measured_from])], 1)
        kinds, measures = len(KINDS), len(MEASURES)
        return (
            out[:, :kinds],
            out[:, kinds : kinds + measures],
            out[:, kinds + measures :].clamp(*_LOG_VARIANCES),
        )

    def stretch(self, factors: Float) -> None:
        """Multiply each of `MEASURES`, and its error, by a factor of its own."""
        layers = self.layers if self.measure_layers is None else self.measure_layers
        last = layers[-1]
        assert isinstance(last, nn.Linear)
        told = slice(-2 * len(MEASURES), -len(MEASURES))
        by = torch.from_numpy(np.asarray(factors, np.float32))
        with torch.no_grad():
            last.weight[told] *= by[:, None]
            last.bias[told] *= by
            last.bias[-len(MEASURES) :] += 2 * torch.log(by)

    def read(self, features: Float, where: Bools) -> Reading:
        """What sites show, each by itself and then pooled with its neighbours.

        Parameters
        ----------
        features : ndarray (n, features)
        where : ndarray (…, y, x), bool
            Where those n sites lie; several maps may be read at once.
        """
        self.eval()
        parts = (features[first : first + _AT_ONCE] for first in range(0, len(features), _AT_ONCE))
        with torch.inference_mode():
            told = [self(self.normalised(some)) for some in parts]
            logits, measure, log_variance = (torch.cat(one) for one in zip(*told, strict=True))
            error = torch.exp(log_variance / 2)
        each = Reading(logits.softmax(1).numpy(), measure.numpy() * UNITS, error.numpy() * UNITS)
        pooled = pool(each, where)
        return replace(pooled, error=pooled.error * self.error_scale.numpy())


def _network(features: int, width: int, told: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(features, width),
        nn.SiLU(),
        nn.Dropout(0.1),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Dropout(0.1),
        nn.Linear(width, told),
    )


def pool(reading: Reading, where: Bools) -> Reading:
    """What a site shows, told by its neighbours as well: a crystal turns and fades as a whole.

    Probabilities are averaged by their logarithms (the logarithmic opinion pool: Genest & Zidek 1986, Stat.
    Sci. 1, 114): a site that shows nothing clearly counts little beside one that does. Measures are averaged
    with the probability that a site shows what is measured, over the squared error, as weight. The error of
    the mean is the neighbours' own: what a model gets wrong in one window it gets wrong nearby as well, and
    how much less their mean is off is found by validation.
    """
    measures = []
    errors = []
    for index, (kinds, reach) in enumerate(zip(KINDS_OF_MEASURE, _POOLED_BY_MEASURE, strict=True)):
        likely = reading.probability[:, kinds].sum(1)
        error = reading.error[:, index]
        weight = likely / error**2 + _LEAST_WEIGHT
        total = _averaged(weight, where, reach)
        measures.append(_averaged(weight * reading.measure[:, index], where, reach) / total)
        errors.append(np.sqrt(_averaged(weight * error**2, where, reach) / total))
    logarithms = np.log(reading.probability + _LEAST_PROBABILITY)
    here = _averaged(np.ones(len(logarithms), np.float32), where, _POOLED_SITES)
    pooled = np.exp(np.stack([_averaged(one, where, _POOLED_SITES) / here for one in logarithms.T], 1))
    pooled /= pooled.sum(1, keepdims=True)
    return Reading(pooled, np.stack(measures, 1), np.stack(errors, 1))


def agreed(readings: Sequence[Reading]) -> Reading:
    """What several readers say of the same sites, averaged as neighbours are; measures are the last one's."""
    logarithms = [np.log(one.probability + _LEAST_PROBABILITY) for one in readings]
    probability = np.exp(np.mean(logarithms, 0))
    probability /= probability.sum(1, keepdims=True)
    return replace(readings[-1], probability=probability)


def _averaged(values: Float, where: Bools, reach: float) -> Float:
    """Values of sites smoothed over the maps they lie in; not over one map into the next."""
    placed = np.zeros(where.shape, np.float32)
    placed[where] = values
    sigma = [0.0] * (where.ndim - 2) + [reach] * 2
    return np.asarray(
        ndimage.gaussian_filter(placed, sigma, mode="constant", truncate=2.5)[where], np.float32
    )
