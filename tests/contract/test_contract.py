"""Every registered method keeps the contract."""

import pytest

from simstudy.estimators import registry
from simstudy.testing import check_estimator

OPTIONS = {
    "disaggregated": [{}, {"se": ["expected"]}, {"se": ["observed", "robust"]}],
    "aggregated": [{}, {"se": ["expected", "observed", "robust"]}],
    "mlm": [{}, {"likelihood": "ml"}],
    "mlm_centered": [{}, {"likelihood": "ml"}],
    "two_step": [{}, {"means": "eb"}, {"centering": "cluster", "likelihood": "ml"}],
    "multigroup": [
        {},
        {"likelihood": "wishart", "se": ["expected", "observed", "robust"], "measures": True},
        {"means": "equal", "se": ["robust"]},
    ],
    "em": [{"se": ["expected", "observed", "robust"]}],
    "fiml_wide": [{"se": ["expected", "observed", "robust"]}],
    "msem": [{}, {"se": ["expected", "observed", "robust"]}],
}
CASES = [(name, options) for name in registry.names() for options in OPTIONS.get(name, [{}])]


@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)])
def test_contract(name, options):
    checked = check_estimator(name, **options)
    assert sum("fitted" in line for line in checked) >= 2
