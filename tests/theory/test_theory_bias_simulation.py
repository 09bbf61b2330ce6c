"""`simstudy bias` against `simstudy run`: 20 random designs of three model families, equal and unequal sizes."""

from __future__ import annotations

import numpy as np
import pytest
from monte_carlo import LIMIT

import simstudy
from simstudy import api
from simstudy.design import parse_design
from simstudy.methods import registry

REPLICATIONS = 400
MEASURES = ("mean_estimate", "empirical_se", "model_se", "coverage", "rejection")
CONTEXTUAL = """
level: within
  y ~ bw*x
level: between
  y ~ bb*x
contextual := bb - bw
"""
MEDIATION_111 = """
level: within
  m ~ aw*x
  y ~ bw*m + cw*x
level: between
  m ~ ab*x
  y ~ bb*m + cb*x
ind_w := aw*bw
ind_b := ab*bb
"""
MEDIATION_211 = """
level: within
  y ~ bw*m
level: between
  m ~ ab*x
  y ~ bb*m + cb*x
ind_b := ab*bb
"""
FAMILIES = {
    "contextual": (CONTEXTUAL, ["bw", "bb"], ["x", "y"]),
    "mediation_111": (MEDIATION_111, ["aw", "bw", "cw", "ab", "bb", "cb"], ["x", "m", "y"]),
    "mediation_211": (MEDIATION_211, ["bw", "ab", "bb", "cb"], ["m", "y"]),
}


METHODS = [name for name in registry.names() if name not in ("em", "fiml_wide")]
"""All but two that give `msem`'s numbers, slowly; `tests/asymptotics` compares their limits."""
WITH_ROBUST = ("aggregated", "goldstein", "muml", "msem")


def random_design(number: int) -> str:
    """Slopes up to .5 at each level, ICCs of .15 to .4, sizes of any kind; J large enough for asymptotics.

    With J of 600 to 1200 the terms that theory leaves out, of relative order 1 / J, are below the MCSE of 400
    replicates.
    """
    random = np.random.default_rng([20090306, number])
    family = list(FAMILIES)[number % 3]
    syntax, slopes, icc = FAMILIES[family]
    low = int(random.integers(3, 8))
    sizes = [
        f"{low + 2}",
        f"{{ uniform = [{low - 1}, {low + int(random.integers(2, 6))}] }}",
        f"{{ mix = {{ {low} = 0.5, {low + 8} = 0.25, {low + 3} = 0.25 }} }}",
    ][int(random.integers(3))]
    values = "\n".join(f"{name} = {random.uniform(-0.2, 0.5):.3f}" for name in slopes)
    shares = ", ".join(f"{name} = {random.uniform(0.15, 0.4):.3f}" for name in icc)
    return f"""
[study]
name = "{family}-{number}"
replications = {REPLICATIONS}
seed = {number}
[model]
syntax = '''{syntax}'''
[population]
{values}
variance = 1.0
icc = {{ {shares} }}
n_clusters = {int(random.integers(15, 31)) * 40}
cluster_size = {sizes}
[estimators]
use = [{", ".join(f'"{name}"' for name in METHODS)}]
{chr(10).join(f'{name} = {{ se = ["expected", "robust"] }}' for name in WITH_ROBUST)}
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_random_design(number, tmp_path, check) -> None:
    design = parse_design(random_design(number))
    folder = tmp_path / "study"
    simstudy.run(design, folder, jobs=1, progress=False)
    both = api.joined(simstudy.bias(design).to_frame(), folder)
    rows = both[both["measure"].isin(MEASURES) & ~both["parameter"].str.contains(":")]
    rows = rows[rows["z"].notna() & (rows["n"] == REPLICATIONS)]
    # an estimate that is the same in every replicate up to rounding, contextual of one slope, has no MCSE to speak of
    rows = rows[~((rows["parameter"] == "contextual") & rows["estimator"].isin(["disaggregated", "mlm", "two_step"]))]
    assert len(rows) > 50
    for row in rows.itertuples():
        what = f"{row.estimator} {row.se_kind} {row.parameter} {row.measure}, design {number}"
        check.noted.append(("bias against simulation", what, row.z))
    worst = rows.loc[rows["z"].abs().idxmax()]
    assert abs(worst["z"]) < LIMIT, worst.to_string()


LEVEL2 = """
level: within
  y ~~ y
level: between
  y ~ b*z
"""
MICRO_MACRO = """
level: within
  x ~~ x
level: between
  y ~ bx*x + bz*z
"""
EXACT_USE = """
use = ["aggregated", "disaggregated", "reml", "ml", "mlm_rescaled", "mlm_contextual", "two_step"]
reml = { estimator = "mlm_centered" }
ml = { estimator = "mlm_centered", likelihood = "ml" }
"""
SLOPES = "bw = 0.2\nbb = 0.7\nicc = { x = 0.1, y = 0.2 }\ncluster_size = "
EXACT = {
    "contextual": (CONTEXTUAL, SLOPES + "4", EXACT_USE),
    "unequal": (CONTEXTUAL, SLOPES + "{ uniform = [2, 9] }", EXACT_USE),
    "mediation": (
        MEDIATION_211,
        "bw = 0.3\nab = 0.4\nbb = 0.4\ncb = 0.1\nicc = { m = 0.3, y = 0.3 }\ncluster_size = 4",
        EXACT_USE,
    ),
    "level-2-predictor": (LEVEL2, "b = 0.0\nicc = { y = 0.2 }\ncluster_size = 4", EXACT_USE),
    "micro-macro": (
        MICRO_MACRO,
        'bx = 0.3\nbz = 0.3\nicc = { x = 0.2 }\n"between: x ~~ z" = 0.1\ncluster_size = 4',
        'use = ["aggregated", "two_step"]',
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_exact_numbers_with_few_clusters(name, tmp_path, check) -> None:
    """J = 12: what is called exact is, boundary estimates and noncentral t included."""
    syntax, values, use = EXACT[name]
    design = parse_design(f"""
[study]
name = "{name}"
replications = 20000
seed = 7
[model]
syntax = '''{syntax}'''
[population]
{values}
variance = 1.0
n_clusters = 12
[estimators]
{use}
""")
    folder = tmp_path / "study"
    simstudy.run(design, folder, jobs=1, progress=False)
    both = api.joined(simstudy.bias(design).to_frame(), folder)
    rows = both[(both["method_of_calculation"] == "exact") & both["z"].notna() & (both["measure"] != "median_bias")]
    assert len(rows) >= 20 if name != "unequal" else 6
    for row in rows.itertuples():
        check.noted.append(("exact numbers", f"{row.estimator} {row.parameter} {row.measure}, {name}", row.z))
    worst = rows.loc[rows["z"].abs().idxmax()]
    assert abs(worst["z"]) < LIMIT, worst.to_string()
