"""Calibrate a model: train the reader of its latents on simulated scenes whose changes are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...errors import ParameterError
from ...progress import Progress, Steps, relabel, run
from ...video.scaling import scale_windows
from ..card import ModelCard
from ..model import Model
from .calibrated import Beside, Calibration
from .components import Components, fit_components_steps
from .known_changes import KINDS, MEASURES, scene_for_model
from .moment_frames import MomentFrames
from .reader import KINDS_OF_MEASURE, LARGEST_ERRORS, UNITS, Float, Reader, ReaderCard, Reading
from .response import recorded, response_steps
from .site_features import MOTION_FEATURES, SPACING, Drawer, features_of_steps, joined, moments_of, noise_of

Labels = NDArray[np.int64]
# What share of a window has to change for its site to count as changed.
_LEAST_SHARE = np.array([1, 0.15, 0.15, 0.5, 0.5, 0.5])
_BATCH, _RATE, _DECAY = 256, 3e-3, 2e-2
_MEASURE_WEIGHT = 0.3
_JITTER = 0.2
# Reversed in time, growth is shrinkage.
_REVERSED = np.array([0, 2, 1, 3, 4, 5, -1])
_VALIDATION = 8
_MOST_STRETCH = 1.5


class Coder(Drawer, Protocol):
    """What turns windows into latents and back: a model, or what it is compared with."""

    @property
    def card(self) -> ModelCard:
        """Window, scaling and period."""

    def encode(self, windows: Float) -> tuple[Float, Float]:
        """Windows (n, window, window) to mean and log variance (n, latent)."""


@dataclass(frozen=True)
class CalibrationParameters:
    """How a reader is trained.

    Parameters
    ----------
    scenes : int
        Simulated scenes; one in eight is kept for validation.
    epochs : int
    seed : int
    """

    scenes: int = 480
    epochs: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        if not _VALIDATION <= self.scenes <= 100_000 or not 1 <= self.epochs <= 10_000:
            raise ParameterError(
                f"scenes is {self.scenes}, epochs {self.epochs}; give {_VALIDATION} or more, and 1 or more."
            )


@dataclass(frozen=True)
class KnownSites:
    """Sites of known scenes: what a reader reads, and what it should say.

    Parameters
    ----------
    features : ndarray (n, features)
        Of latents.
    kind : ndarray (n,), int
        Index into `KINDS`; −1 where too little of the window changes to say.
    measure : ndarray (n, measure)
    sites : tuple of int
        Of one scene, along y and x; n is a multiple of their product.
    components : ndarray (n, features), optional
        Features of components.
    """

    features: Float
    kind: Labels
    measure: Float
    sites: tuple[int, int]
    components: Float | None = None

    def of_components(self) -> KnownSites:
        """The same sites by the features of components."""
        assert self.components is not None
        return replace(self, features=self.components)

    def of_both(self) -> KnownSites:
        """The same sites by the features of both."""
        assert self.components is not None
        return replace(self, features=joined(self.features, self.components))


def calibrate(model: Model, parameters: CalibrationParameters | None = None) -> Calibration:
    """Train the readers of a model; see `calibrate_steps`."""
    return run(calibrate_steps(model, parameters or CalibrationParameters()))


def calibrate_steps(model: Model, parameters: CalibrationParameters) -> Steps[Calibration]:
    """Simulate scenes, encode them, draw what latents and components say of them, and train readers on that.

    What every latent answers to is found as well, and kept in the record.

    Raises
    ------
    ModelPartError
        The model has no encoder or no decoder.
    ParameterError
        Its card tells no fringe period, or one that scenes cannot have.
    """
    _ = model.encoder, model.decoder
    card = ReaderCard(model.card.name, model.checksum, features=0, measured_from=MOTION_FEATURES)
    # Components are of frames scaled as a whole.
    components = None if model.card.scaling == "window" else (yield from fit_components_steps(model.card))
    held_out = parameters.scenes // _VALIDATION
    train = yield from known_sites_steps(
        model, components, parameters.scenes - held_out, parameters.seed, both_directions=True
    )
    test = yield from known_sites_steps(model, components, held_out, parameters.seed + 1_000_003)
    latents = yield from train_reader_steps(train, test, card, parameters)
    answer = yield from response_steps(model, seed=parameters.seed)
    latents.card = replace(latents.card, record=latents.card.record | {"response": recorded(answer)})
    if components is None:
        return Calibration(latents)
    alone = yield from train_reader_steps(train.of_components(), test.of_components(), card, parameters)
    card = replace(card, measured_from=2 * MOTION_FEATURES)
    both = yield from train_reader_steps(train.of_both(), test.of_both(), card, parameters)
    return Calibration(latents, Beside(components, alone, both))


def known_sites_steps(
    coder: Coder, components: Components | None, scenes: int, seed: int, *, both_directions: bool = False
) -> Steps[KnownSites]:
    """Features and truth of the sites of `scenes` scenes; with `both_directions` of time each.

    Raises
    ------
    ParameterError
        The card tells no fringe period, or one that scenes cannot have.
    """
    card = coder.card
    latents: list[Float] = []
    beside: list[Float] = []
    kinds: list[Labels] = []
    measures: list[Float] = []
    step = round(SPACING * card.window)
    for number in range(scenes):
        yield Progress(number, scenes, "Simulating known changes")
        rng = np.random.default_rng((seed, number))
        scene = scene_for_model(rng, card)
        field = _encoded(coder, scene.frames, step)
        kind, measure = _truth_of_sites(scene.kind, scene.measures, card.window, step)
        progress = Progress(number, scenes, "Simulating known changes")
        moments, noise = moments_of(field), np.log(noise_of(field) + 1e-12)
        everywhere = np.ones(noise.shape, bool)
        known = noise, everywhere, everywhere
        reading = features_of_steps(moments, *known, coder, step, backwards=both_directions)
        latents += yield from relabel(reading, partial(replace, progress))
        if components is not None:
            rows, columns = (range(count) for count in noise.shape)
            frames = MomentFrames(np.ones(len(scene.frames), bool))
            frames.take(0, torch.from_numpy(scene.frames))
            found = frames.components(components, rows, columns, step)
            reading = features_of_steps(found, *known, components, step, backwards=both_directions)
            beside += yield from relabel(reading, partial(replace, progress))
        kinds += [kind, _REVERSED[kind]] if both_directions else [kind]
        measures += [measure, _reversed(measure)] if both_directions else [measure]
    truth = np.concatenate(kinds), np.concatenate(measures), noise.shape
    return KnownSites(np.concatenate(latents), *truth, np.concatenate(beside) if beside else None)


def _encoded(coder: Coder, frames: Float, step: int) -> Float:
    """Latent field (frames, y, x, latent) of scaled frames."""
    size = coder.card.window
    windows = np.lib.stride_tricks.sliding_window_view(frames, (size, size), (1, 2))[:, ::step, ::step]
    shape = windows.shape[:3]
    flat = windows.reshape(-1, size, size)
    mean, _ = coder.encode(scale_windows(flat) if coder.card.scaling == "window" else flat)
    return mean.reshape(*shape, -1)


def _truth_of_sites(kind: NDArray[np.uint8], measures: Float, window: int, step: int) -> tuple[Labels, Float]:
    """Kind and measures of each site (y · x,) from those of the pixels."""

    def windows(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        views = np.lib.stride_tricks.sliding_window_view(pixels, (window, window))[::step, ::step]
        return views.reshape(-1, window * window)

    views = windows(kind)
    shares = np.stack([(views == index).mean(1) for index in range(len(KINDS))], 1)
    labels = np.full(len(shares), -1)
    for index in reversed(range(1, len(KINDS))):
        labels[shares[:, index] >= _LEAST_SHARE[index]] = index
    labels[shares[:, 0] == 1] = 0
    by_measure = []
    for one in measures:
        values = windows(one)
        by_measure.append(values.sum(1) / np.maximum((values != 0).sum(1), 1))
    return labels, np.stack(by_measure, 1).astype(np.float32)


def _reversed(measure: Float) -> Float:
    """Measures of the same scenes backwards."""
    backwards = -measure
    backwards[:, 2] = 100 * (1 / (1 + measure[:, 2] / 100) - 1)
    return backwards


def train_reader_steps(
    train: KnownSites, test: KnownSites, card: ReaderCard, parameters: CalibrationParameters
) -> Steps[Reader]:
    """Fit a reader to known sites, and record what it says of others."""
    torch.manual_seed(parameters.seed)
    reader = Reader(replace(card, features=train.features.shape[1])).train()
    reader.middle.copy_(torch.from_numpy(train.features.mean(0)))
    reader.spread.copy_(torch.from_numpy(train.features.std(0) + 1e-6))
    x, kind = reader.normalised(train.features), torch.from_numpy(train.kind)
    measure = torch.from_numpy(train.measure / UNITS)
    # Between all sites alike and all kinds alike.
    weight = 1 / torch.sqrt(torch.bincount(kind[kind >= 0], minlength=len(KINDS)).clamp(min=1))
    weight /= weight.mean()
    batches = max(1, len(x) // _BATCH)
    total = parameters.epochs * batches
    optimiser = torch.optim.AdamW(reader.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=total)
    generator = torch.Generator().manual_seed(parameters.seed)
    for epoch in range(parameters.epochs):
        order = torch.randperm(len(x), generator=generator)
        for number, some in enumerate(order.chunk(batches)):
            noisy = x[some] + _JITTER * torch.randn(len(some), x.shape[1], generator=generator)
            loss = _loss(reader(noisy), kind[some], measure[some], weight)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if number % 16 == 0:
                yield Progress(epoch * batches + number, total, "Training the reader")
    reader.eval()
    record = _validate(reader, test)
    reader.card = replace(
        reader.card, record={"scenes": parameters.scenes, "seed": parameters.seed, **record}
    )
    return reader


def _loss(
    out: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    kind: torch.Tensor,
    measure: torch.Tensor,
    weight: torch.Tensor,
) -> torch.Tensor:
    """Cross entropy of kinds, and the likelihood of each measure where it is what happens."""
    logits, told, log_variance = out
    clear = kind >= 0
    loss = nn.functional.cross_entropy(logits[clear], kind[clear], weight=weight)
    for index, kinds in enumerate(KINDS_OF_MEASURE):
        happens = torch.isin(kind, torch.tensor(kinds))
        if happens.any():
            spread = log_variance[happens, index]
            error = (measure[happens, index] - told[happens, index]) ** 2
            loss = loss + _MEASURE_WEIGHT * (0.5 * torch.exp(-spread) * error + 0.5 * spread).mean()
    return loss


def _validate(reader: Reader, test: KnownSites) -> dict[str, object]:
    """Recall of each kind; and set the scales of measures and errors, so that both are right on average."""
    where = np.ones((len(test.kind) // np.prod(test.sites), *test.sites), bool)
    reading = reader.read(test.features, where)
    guess = reading.probability.argmax(1)
    recall = {
        name: round(float((guess[test.kind == index] == index).mean()), 3)
        for index, name in enumerate(KINDS)
        if (test.kind == index).any()
    }
    stretch = [
        _falls_short(*_measured(test, reading, index), largest)
        for index, largest in enumerate(LARGEST_ERRORS)
    ]
    reader.stretch(np.array(stretch, np.float32))
    reading = reader.read(test.features, where)
    for index in range(len(MEASURES)):
        reader.error_scale[index] = _error_scale(*_measured(test, reading, index))
    scales = dict(zip(MEASURES, reader.error_scale.tolist(), strict=True))
    return {"recall": recall, "stretch": dict(zip(MEASURES, stretch, strict=True)), "error_scale": scales}


def _measured(test: KnownSites, reading: Reading, index: int) -> tuple[Float, Float, Float]:
    """Truth, what is told and its error, at the sites where what a measure is of happens."""
    here = np.isin(test.kind, KINDS_OF_MEASURE[index])
    return test.measure[here, index], reading.measure[here, index], reading.error[here, index]


def _error_scale(truth: Float, told: Float, error: Float) -> float:
    """What errors are too small by, so that one covers the share that it does of a normal distribution."""
    return float(np.quantile(np.abs(told - truth) / error, 0.683)) if len(truth) else 1.0


def _weighted_median(values: Float, weights: Float) -> float:
    """The value below which half of the weights lie."""
    order = np.argsort(values)
    below = np.cumsum(weights[order], dtype=np.float64)
    return float(values[order][np.searchsorted(below, below[-1] / 2)])


def _falls_short(truth: Float, told: Float, error: Float, largest: float) -> float:
    """What measures of small enough error fall short by: a network that doubts tells less than it sees."""
    given = (error * _error_scale(truth, told, error) <= largest) & (truth != 0)
    # A median: where a neighbour does something else, what is pooled is off by any factor. Weighted, as what
    # is told too little of a large change is more of it.
    ratio = _weighted_median(told[given] / truth[given], np.abs(truth[given])) if given.any() else 1.0
    return float(np.clip(1 / ratio, 1, _MOST_STRETCH)) if ratio > 0 else 1.0
