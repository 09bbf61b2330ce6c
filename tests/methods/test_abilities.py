"""The README's table "Which method does what" says what the methods do when they are asked to."""

from __future__ import annotations

import ability_cases as cases
import numpy as np
import pytest


@pytest.mark.parametrize("name", cases.METHODS)
def test_every_cell_of_the_table_is_what_the_method_does(name) -> None:
    assert name in cases.written(), f"the README's table lacks a row; all of it:\n{cases.as_markdown()}"
    assert cases.written()[name] == cases.computed(name)


def test_the_table_has_the_built_in_methods_in_their_order() -> None:
    table = cases.written()
    assert tuple(table) == cases.METHODS
    assert all(tuple(row) == cases.COLUMNS for row in table.values())


@pytest.mark.parametrize("layout", [cases.EQUAL, cases.UNEQUAL], ids=["equal", "unequal"])
def test_samples_have_the_moments_of_their_population(layout) -> None:
    model, given = cases.OUTCOME, cases.VALUES["outcome"]
    data = cases.exact_sample(model, given, layout).statistics()
    mu, within, between = cases.TwoLevelStructure(model).moments(cases.truth(model, given))
    # matrices turned and stretched: rounding
    np.testing.assert_allclose(data.scatter_within[0], (layout.n_obs - layout.n_clusters) * within, atol=1e-10)
    for s, (n, count) in enumerate(zip(layout.distinct, layout.counts, strict=True)):
        spread = between.copy()
        spread[:1, :1] += within / n
        np.testing.assert_allclose(data.size_means[0, s], mu, atol=1e-12)
        np.testing.assert_allclose(data.size_scatter[0, s], count * spread, atol=1e-10)
