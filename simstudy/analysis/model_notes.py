"""What a fit says about its model: how the text was read, products, automatic covariances, what lies at a bound."""

from __future__ import annotations

import numpy as np
import pandas as pd

from simstudy.errors import DataError, did_you_mean
from simstudy.estimation.boundary import VIOLATED
from simstudy.linalg.stacked import FloatArray
from simstudy.methods.likelihood_of import LikelihoodOf, listed
from simstudy.model.parameters import label_notes
from simstudy.model.products import factors_of, product_notes
from simstudy.model.syntax import parse_syntax
from simstudy.model.twolevel import TwoLevelModel


def with_products(data: pd.DataFrame, model: TwoLevelModel) -> pd.DataFrame:
    """Data with a column for every product ``x1:x2`` of the model that is no column yet.

    Raises
    ------
    DataError
        Where a variable of a product is no numeric column.
    """
    problems: list[str] = []
    found: dict[str, pd.Series] = {}
    for name in model.variables:
        parts = factors_of(name)
        if parts is None or name in data.columns:
            continue
        bad = [part for part in parts if list(data.columns).count(part) != 1]
        problems += [
            f"data: there is no column '{part}', of which '{name}' is a product"
            f"{did_you_mean(part, map(str, data.columns))}"
            for part in bad
        ]
        if bad:
            continue
        texts = [part for part in parts if not pd.api.types.is_numeric_dtype(data[part])]
        problems += [f"data: column '{part}', of which '{name}' is a product, is not numeric" for part in texts]
        if not texts:
            found[name] = data[parts[0]].astype(float) * data[parts[1]].astype(float)
    if problems:
        raise DataError(problems)
    return data.assign(**found) if found else data


def reading_notes(model: TwoLevelModel, data: pd.DataFrame) -> tuple[str, ...]:
    """How the model text was read, as far as it could be read otherwise; ``data`` without the products' columns."""
    own = [f"'{name}' is a column of the data and is taken as it is" for name in data.columns if factors_of(str(name))
           and name in model.variables]  # fmt: skip
    products = () if own else product_notes(model)
    columns = set(map(str, data.columns)) - set(model.variables)  # of the model's variables the table's notes tell
    labels = label_notes(parse_syntax(model.syntax), columns, "the data have a column")
    return (*model.table.notes, *dict.fromkeys(labels), *own, *products)


def silent_rows(model: TwoLevelModel, n_silent: int, n_obs: int, of: LikelihoodOf) -> str:
    """That rows without values of the variables whose density the likelihood is say nothing."""
    names = listed([name for name in of.variables if name in model.level1])
    return (
        f"{n_silent:,} of {n_silent + n_obs:,} rows have no value of {names}: given {listed(of.given)} they say "
        "nothing, and are not counted (BIC)"
    )


def bound_notes(model: TwoLevelModel, params: FloatArray, *, variances: bool) -> tuple[str, ...]:
    """Parameters and inequalities that lie at their bounds at the estimates (q), and what that means."""
    table = model.table
    lower, upper = table.lower, table.upper
    if variances:
        index = table.variance_indices
        lower[index] = np.maximum(lower[index], 0.0)
    found = []
    for name, value, low, high in zip(table.names, params, lower, upper, strict=True):
        if value in (low, high):
            found.append(f"{name} is at its bound, {value:g}")
    values = {**table.constants, **dict(zip(table.names, params.tolist(), strict=True))}
    for one in table.inequalities:
        gap, size = float(one.gap(values)), abs(float(one.larger.evaluate(values)))
        if abs(gap) <= VIOLATED * (1.0 + size):
            found.append(f"'{one.text}' holds with equality")
    if not found:
        return ()
    return (
        *found,
        "what is at its bound has no SE, and the SEs of the others take it as given; as in lavaan it counts as a "
        "parameter (npar, df, AIC, BIC). Chi-square and tests near a bound do not follow their usual distributions",
    )
