"""Errors that users can cause: one sentence that says what is wrong, where, and what to do.

None derives from `RuntimeError`: napari's generator workers swallow that class without a word.
"""


class HrtemVaeError(Exception):
    """Base of every error that a user can cause and mend."""


class ParameterError(HrtemVaeError, ValueError):
    """A parameter lies outside its range; the message names the parameter, its value and the range."""


class VideoFileError(HrtemVaeError):
    """A file or folder cannot be read as a video; the message names the file."""


class VideoShapeError(HrtemVaeError, ValueError):
    """An array cannot serve as a video: dims, dtype or size do not fit."""


class ModelFileError(HrtemVaeError):
    """A model file is damaged, foreign, or holds another architecture."""


class ModelPartError(HrtemVaeError):
    """A model lacks the part (encoder or decoder) that was asked of it."""


class TrainingError(HrtemVaeError):
    """Training diverged or the latents died; nothing was saved."""


class ResultError(HrtemVaeError):
    """A result cannot be written or read; the message names the store."""


class LatticeError(HrtemVaeError):
    """No lattice stands out of the noise, or none that fits what was asked."""


class DeviceError(HrtemVaeError):
    """A device does not exist here, or ran out of memory at the smallest batch."""


class CancelledError(HrtemVaeError):
    """The user stopped the work; what was finished is kept."""


class ClusterError(HrtemVaeError):
    """A dask cluster cannot be reached, or lost its workers."""
