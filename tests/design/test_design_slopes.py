"""Random slopes in a design file: what they multiply, keys, digests of the methods."""

from __future__ import annotations

import numpy as np
import pytest

from simstudy.design import Design, parse_design
from simstudy.errors import DesignError
from simstudy.model.slope_structure import SlopeStructure

BOTH = 'level: within\n  y ~ rv("s")*x\nlevel: between\n  y ~ bb*x\n  y ~~ s\n'
WITHIN = 'level: within\n  y ~ rv("s")*x\nlevel: between\n  y ~~ s\n'
PLAIN = "level: within\n  y ~ bw*x\nlevel: between\n  y ~ bb*x\n"
VALUES = '"between: s ~ 1" = 0.4\n"between: s ~~ s" = 0.2\nbb = 0.7\nvariance = 1.5\nicc = { y = 0.4, x = 0.2 }'


def text_of(extra: str, syntax: str = BOTH, values: str = VALUES, use: str = 'use = ["msem"]') -> str:
    return (
        f'[study]\nname = "t"\nreplications = 3\nseed = 1\n[model]\nsyntax = """\n{syntax}"""\n[population]\n'
        f"{values}\n{extra}\nn_clusters = 20\ncluster_size = 5\n[estimators]\n{use}\n"
    )


def key(extra: str, syntax: str = BOTH, values: str = VALUES) -> str:
    return parse_design(text_of(extra, syntax, values)).cells[0].key


def test_latent_is_the_default_and_has_the_key_of_a_file_without_it() -> None:
    assert key("") == key('slopes = "latent"')
    assert key("") != key('slopes = "observed"')


def test_a_predictor_within_clusters_only_gives_the_same_data_either_way() -> None:
    values = VALUES.replace("bb = 0.7\n", "").replace(", x = 0.2", "")
    assert key("", WITHIN, values) == key('slopes = "observed"', WITHIN, values)


@pytest.mark.parametrize("meaning", ["latent", "observed"])
def test_calibration_takes_the_meaning_into_account(meaning: str) -> None:
    """Total variance and ICC asked for are those of the population with that meaning."""
    cell = parse_design(text_of(f'slopes = "{meaning}"')).cells[0]
    model, values = cell.population.model, np.asarray(cell.population.values)
    _, within, between = SlopeStructure(model).moments(values, meaning)
    total = np.diag(within) + np.diag(between)
    assert cell.population.slopes == meaning
    np.testing.assert_allclose(total, 1.5, rtol=1e-12)  # rounding
    np.testing.assert_allclose(np.diag(between) / total, [0.4, 0.2], rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (text_of('slopes = "obseved"'), "population.slopes: found 'obseved'; allowed: \"latent\" (a random slope"),
        (
            text_of('slopes = "observed"', PLAIN, "bw = 0.2\nbb = 0.7\nvariance = 1\nicc = 0.2"),
            "population.slopes: found 'observed', but the generating model has no random slope; write one as",
        ),
        (text_of("", use='use = ["msem"]\nmsem = { slopes = "hybird" }'), "option 'slopes'"),
    ],
)
def test_messages(text: str, message: str) -> None:
    with pytest.raises(DesignError) as caught:
        parse_design(text, "d.toml")
    assert len(caught.value.problems) == 1
    assert message in caught.value.problems[0]
    assert caught.value.problems[0].startswith("d.toml:")


def methods(options: str, syntax: str = PLAIN) -> Design:
    values = VALUES if syntax == BOTH else "bw = 0.2\nbb = 0.7\nvariance = 1\nicc = 0.2"
    return parse_design(text_of("", syntax, values, f'use = ["msem"]\nmsem = {{ {options} }}'))


def test_each_meaning_is_a_method_of_its_own() -> None:
    digests = {methods(f'slopes = "{how}"', BOTH).estimators[0].digest for how in ("latent", "hybrid", "fixed")}
    assert len(digests) == 3
    assert methods('slopes = "hybrid"', BOTH).unsupported() == {}
    assert "stands in both blocks" in methods('slopes = "observed"', BOTH).unsupported()["msem", 0]


def test_options_that_came_later_leave_digests_of_stored_estimates() -> None:
    """The digest of msem before it had the options `slopes` and `nodes`: folders begun then can be resumed."""
    before = "5868039599a8a87e42249e5cd6480fbf1d5e395e012f202e189864f8d1303026"
    assert methods('se = ["expected", "robust"]').estimators[0].digest == before
    assert methods('se = ["expected", "robust"], slopes = "auto"').estimators[0].digest == before
    assert methods('se = ["expected", "robust"], nodes = 9').estimators[0].digest != before
