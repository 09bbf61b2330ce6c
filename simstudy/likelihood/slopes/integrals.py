"""What the likelihood of a model with random slopes is an integral over (theory D1.4, D1.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from simstudy.likelihood.slopes.chain import Treatment
from simstudy.model.twolevel import TwoLevelModel

Choice = Literal["auto", "observed", "latent", "hybrid"]

MOST_LATENT = 3
"""Latent means of predictors that are integrated over."""
MOST_GIVEN = 3
"""Slopes that are integrated over; a further one needs some thirty times the nodes."""


def treatment(model: TwoLevelModel, choice: Choice) -> Treatment:
    """What becomes of the predictors of slopes; it makes no difference to those that live within clusters only.

    ``auto`` follows the syntax: a variable in both blocks is decomposed into latent parts, be it exogenous or a
    mediator, and its slope is that of the within part; a variable in the within block only is what it is.
    """
    if not any(slope.predictor in model.both for slope in model.slopes):
        return "observed"
    return "latent" if choice == "auto" else choice


def integrated(model: TwoLevelModel, choice: Choice, lacking: Sequence[str] = ()) -> tuple[str, ...]:
    """Slopes over which the likelihood is an integral (theory D1.8): those of factors and ``lacking`` ones.

    Where there are any, so are those of latent within parts; without them the integral is over latent means.

    Parameters
    ----------
    lacking : sequence of str
        Slopes whose predictors have missing values where they are needed (`model.carriers`).
    """
    factors = model.factors("within")
    if not lacking and not any(slope.predictor in factors for slope in model.slopes):
        return ()
    latent = model.both if treatment(model, choice) == "latent" else ()
    return tuple(s.name for s in model.slopes if s.predictor in (*factors, *latent) or s.name in lacking)


def too_many(given: Sequence[str]) -> str | None:
    """Why an integral over slopes cannot be done, or None."""
    if len(given) <= MOST_GIVEN:
        return None
    return (
        f"an integral over {len(given)} slopes ({', '.join(given)}); at most {MOST_GIVEN} can be done: leave some "
        "fixed. Slopes of observed variables without missing values that live within clusters, or with "
        "slopes = 'observed' or 'hybrid', cost no integral"
    )
