"""``:=`` parameters: functions of the model's parameters, with exact gradients."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from simstudy.linalg.stacked import FloatArray, IntArray
from simstudy.model.expressions import Expression


@dataclass(frozen=True)
class Estimands:
    """Defined parameters of a model.

    Attributes
    ----------
    names : tuple of str
        The free parameters (q) they are functions of.
    definitions : tuple of (str, Expression)
        In order; a definition may use the ones before it.
    constants : dict
        Labelled fixed parameters.
    """

    names: tuple[str, ...]
    definitions: tuple[tuple[str, Expression], ...]
    constants: dict[str, float] = field(default_factory=dict)

    @property
    def defined_names(self) -> tuple[str, ...]:
        """Names of the defined parameters (d)."""
        return tuple(name for name, _ in self.definitions)

    @property
    def used(self) -> IntArray:
        """Indices of the free parameters that any definition depends on."""
        position = {name: i for i, name in enumerate(self.names)}
        found = {position[n] for _, expression in self.definitions for n in expression.names if n in position}
        return np.array(sorted(found), dtype=np.int64)

    def evaluate(self, params: FloatArray) -> FloatArray:
        """Values (..., d) at free parameters (..., q)."""
        env: dict[str, FloatArray | float] = dict(self.constants)
        env.update({name: params[..., i] for i, name in enumerate(self.names)})
        result = np.empty((*params.shape[:-1], len(self.definitions)))
        for k, (name, expression) in enumerate(self.definitions):
            result[..., k] = env[name] = np.broadcast_to(expression.evaluate(env), params.shape[:-1])
        return result

    def jacobian(self, params: FloatArray) -> FloatArray:
        """Derivatives (..., d, q) of the defined parameters with respect to the free ones."""
        shape = params.shape[:-1]
        env: dict[str, FloatArray | float] = dict(self.constants)
        env.update({name: params[..., i] for i, name in enumerate(self.names)})
        rows: dict[str, FloatArray] = {}
        result = np.zeros((*shape, len(self.definitions), len(self.names)))
        position = {name: i for i, name in enumerate(self.names)}
        for k, (name, expression) in enumerate(self.definitions):
            for used, slope in expression.gradient(env).items():
                slope = np.broadcast_to(slope, shape)
                if used in position:
                    result[..., k, position[used]] += slope
                elif used in rows:
                    result[..., k, :] += slope[..., None] * rows[used]
            rows[name] = result[..., k, :]
            env[name] = np.broadcast_to(expression.evaluate(env), shape)
        return result
