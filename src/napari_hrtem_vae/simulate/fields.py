"""Fields of parameter classes: label, tooltip and limits in one place, and the check against them."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any

import numpy as np

from ..errors import ParameterError


def described(default: Any, label: str, tooltip: str, **limits: Any) -> Any:
    """A dataclass field with what a form and a command line need to show it.

    Parameters
    ----------
    default : object
        Its value when none is given; None stands for a value found by the program.
    label, tooltip : str
        With the unit in brackets; a sentence.
    **limits
        `min` and `max`, or `choices`; `option`: another name on the command line.
    """
    return field(default=default, metadata={"label": label, "tooltip": tooltip, **limits})


def check_fields(parameters: Any) -> None:
    """Hold the values of a dataclass of `described` fields against their limits.

    Raises
    ------
    ParameterError
        A value lies outside; the message names the field, the value and the range.
    """
    for one in fields(parameters):
        value, limits = getattr(parameters, one.name), one.metadata
        if value is None and one.default is None:
            continue
        if "choices" in limits:
            if value not in limits["choices"]:
                raise ParameterError(
                    f"{one.name} is {value!r}; give one of {', '.join(map(str, limits['choices']))}."
                )
        elif "min" in limits:
            whole = isinstance(one.default, int)
            kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
            if not (isinstance(value, kinds) and limits["min"] <= value <= limits["max"]):
                number = "whole number" if whole else "number"
                span = f"{limits['min']:.15g} to {limits['max']:.15g}"
                raise ParameterError(f"{one.name} is {value!r}; give a {number} from {span}.")
