"""Every registered method keeps the contract."""

import pytest

from simstudy.methods import registry
from simstudy.testing import check_estimator

OPTIONS = {
    "disaggregated": [{}, {"se": ["expected"]}, {"se": ["observed", "robust"]}],
    "aggregated": [{}, {"se": ["expected", "observed", "robust"]}],
    "mlm": [{}, {"likelihood": "ml"}, {"slopes": "fixed"}],
    "mlm_centered": [{}, {"likelihood": "ml"}],
    "two_step": [{}, {"means": "eb"}, {"centering": "cluster", "likelihood": "ml"}],
    "slopes_as_outcomes": [{}, {"correction": "none", "se": ["expected"]}, {"correction": "weighted"}],
    "croon": [{}, {"se": ["expected", "robust", "corrected"]}, {"se": ["corrected"], "first_step": "ml"}],
    "schmidt": [{}, {"between": "raw", "divisor": "J-1", "se": ["observed", "expected"]}],
    "haernqvist": [{}, {"metric": "total_sd", "measures": True}],
    "goldstein": [{}, {"missing": "fiml"}, {"measures": True, "se": ["observed", "robust"]}],
    "raudenbush_measurement": [{}, {"uniquenesses": "common", "se": ["observed", "expected"]}],
    "muml": [{}, {"divisor": "J-1"}, {"se": ["expected", "observed", "robust"], "measures": True}],
    "multigroup": [
        {},
        {"likelihood": "wishart", "se": ["expected", "observed", "robust"], "measures": True},
        {"means": "equal", "se": ["robust"]},
    ],
    "em": [{"se": ["expected", "observed", "robust"]}],
    "fiml_wide": [{"se": ["expected", "observed", "robust"]}],
    "msem": [
        {},
        {"se": ["expected", "observed", "robust"]},
        {"slopes": "hybrid", "se": ["robust"]},
        {"slopes": "fixed"},
    ],
}
# the first of a method's sets of options; the others, and the dearest methods, in the slow suite
DEAR = ("goldstein", "fiml_wide", "em")
CASES = [
    pytest.param(name, options, id=f"{name}-{k}", marks=[pytest.mark.slow] if k or name in DEAR else [])
    for name in registry.names()
    for sets in [OPTIONS.get(name, [{}])]
    for k, options in enumerate(sets)
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_contract(name, options):
    checked = check_estimator(name, **options)
    assert sum("fitted" in line for line in checked) >= 2
