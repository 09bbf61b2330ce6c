"""Methods in designs with random slopes: options, digests, pickling for workers, and the fit measures kept."""

from __future__ import annotations

import pickle

import numpy as np

from simstudy.design import parse_design
from simstudy.methods import ask
from simstudy.methods.fixed_slopes import WithFixedSlopes
from simstudy.methods.mixed.mlm_slopes import RandomSlopes
from simstudy.runner.block import StudyContext, fit_block
from simstudy.runner.rows import fit_table

TEXT = """
[study]
name = "slopes"
replications = 2
seed = 1
[model]
syntax = \"\"\"
level: within
  y ~ rv("s")*x
level: between
  y ~ bb*x
  s ~ bw*1
  s ~~ t11*s
  y ~~ t01*s
\"\"\"
[population]
bw = 0.4
bb = 0.8
t11 = 0.15
t01 = 0.1
"between: y ~~ y" = 0.3
"within: y ~~ y" = 1.0
"within: x ~~ x" = 0.7
"between: x ~~ x" = 0.3
[factors]
n_clusters = [30]
cluster_size = [{ mix = { 2 = 0.5, 10 = 0.5 } }]
[estimators]
use = ["mlm", "slopes_as_outcomes", "schmidt"]
"""


def test_entries_keep_the_options_of_their_methods() -> None:
    design = parse_design(TEXT)
    mlm, outcomes, schmidt = design.estimators
    assert isinstance(mlm.estimator, RandomSlopes)
    assert isinstance(schmidt.estimator, WithFixedSlopes)
    assert mlm.options == {"likelihood": "reml", "slopes": "random"}
    assert schmidt.options == {"se": ("expected",), "between": "adjusted", "divisor": "J", "measures": False}
    fixed = parse_design(TEXT + "mlm = { slopes = 'fixed' }\n").estimators[0]
    assert isinstance(fixed.estimator, WithFixedSlopes)
    assert len({mlm.digest, outcomes.digest, schmidt.digest, fixed.digest}) == 4
    for entry in (mlm, outcomes, schmidt, fixed):
        assert pickle.loads(pickle.dumps(entry.estimator)) == entry.estimator
    assert ask.for_model(mlm.estimator, design.model) is mlm.estimator


def test_clusters_left_out_and_singular_fits_are_kept(tmp_path) -> None:
    design = parse_design(TEXT)
    study = StudyContext(tmp_path, design.digest, design.seed, design.model, design.intervals)
    fits, failures, _ = fit_block(study, design.cells[0], design.estimators, range(3))
    assert not failures
    rows = fit_table(0, range(3), fits).to_pydict()
    names = [entry.name for entry in design.estimators]
    kept = {name: rows["clusters_dropped"][3 * i : 3 * i + 3] for i, name in enumerate(names)}
    small = int((np.array(design.cells[0].population.layout.sizes) == 2).sum())
    assert small > 0
    assert kept == {"mlm": [None] * 3, "slopes_as_outcomes": [small] * 3, "schmidt": [None] * 3}
    assert set(rows["boundary"][:3]) <= {0.0, 1.0}
