"""Generating values x grid -> one calibrated `Population` a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from simstudy.data.layout import ClusterLayout
from simstudy.design.design import Cell, digest_of
from simstudy.design.factors import Factor, Level
from simstudy.design.problems import Path, Problems
from simstudy.design.situation import COMPLETE_NORMAL, Situation
from simstudy.design.values import Entries, evaluate
from simstudy.errors import DesignError
from simstudy.linalg.stacked import FloatArray
from simstudy.model.slope_structure import Meaning
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.calibrate import attempt
from simstudy.population.distributions import NORMAL_POPULATION, Distribution
from simstudy.population.given import LEVELS, Problem, Shares, resolve
from simstudy.population.missing import MissingRule
from simstudy.population.population import Population
from simstudy.population.sizes import ClusterSizes, parse_sizes, run_lengths

SHARES = ("variance", "icc")
SETTINGS = (*SHARES, "n_clusters", "cluster_size", "clusters")
DEPARTURES = ("distribution", "missing")

Asked = tuple[TwoLevelModel, Mapping[str, float], Shares, Shares, ClusterLayout]
"""Generating model, values, variance, icc and layout: what a population's key is made of."""


@dataclass(frozen=True)
class Recipe:
    """How the population of a cell is made.

    Attributes
    ----------
    model : TwoLevelModel
        The generating model.
    entries : dict
        Generating values, ``variance``, ``icc``, ``n_clusters`` and a numeric ``cluster_size``, by path below
        ``[population]``; a factor that stands for one of them is a reference to itself.
    sizes : ClusterSizes or None
        Cluster sizes that are the same in every cell.
    sizes_key : str
        Key that they, or the factor of sizes, stand under: ``cluster_size`` or ``clusters``.
    n_between : int
        Observed between-level variables of the analysed model: there must be more clusters.
    std_lv : bool
    situation : Situation
        Distribution and missing values, without their numbers.
    slopes : str
        What random slopes of the generating model multiply, ``latent`` or ``observed``.
    """

    model: TwoLevelModel
    entries: Entries
    sizes: ClusterSizes | None
    sizes_key: str
    n_between: int
    std_lv: bool = False
    situation: Situation = COMPLETE_NORMAL
    slopes: Meaning = "latent"


def build_cells(
    recipe: Recipe, factors: Sequence[Factor], combinations: Sequence[Mapping[str, Level]], problems: Problems
) -> tuple[Cell, ...]:
    """Populations of all cells; problems that several cells share are noted once."""
    cells = []
    tally = _Tally(len(combinations))
    for index, levels in enumerate(combinations):
        shown = {factor.name: factor.display(levels[factor.name]) for factor in factors}
        try:
            population, label = _population(recipe, levels)
        except _CellError as trouble:
            tally.add(index, shown, trouble.problems)
            continue
        cells.append(Cell(index, population.key, shown, population, label))
    tally.report(problems, recipe, [factor.name for factor in factors])
    return tuple(cells)


def one_cell(recipe: Recipe, levels: Mapping[str, Level], params: FloatArray | None = None) -> Cell:
    """Cell 0 of a study of its own, at these levels of the factors.

    ``params``, if given, are the values of the free parameters (q), known from a cell that differs in its clusters
    alone.

    Raises
    ------
    DesignError
        If there is no such population.
    """
    try:
        population, label = _population(recipe, levels, params)
    except _CellError as trouble:
        raise DesignError(list(dict.fromkeys(problem.text for problem in trouble.problems))) from None
    return Cell(0, population.key, {}, population, label)


class _CellError(Exception):
    """A cell that can have no population."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__()
        self.problems = tuple(problems)


def _population(
    recipe: Recipe, levels: Mapping[str, Level], params: FloatArray | None = None
) -> tuple[Population, str]:
    """Population of a cell and the short name of its cluster sizes."""
    numbers = {name: float(level) for name, level in levels.items() if not isinstance(level, ClusterSizes)}
    found = evaluate(recipe.entries, numbers, recipe.model.table.constants)
    sizes, layout = _layout(recipe, levels, found)
    values = {str(path[0]): value for path, value in found.items() if len(path) == 1 and path[0] not in SETTINGS}
    shares = {what: _shares(found, what) for what in SHARES}
    if params is None:
        params, problems = attempt(recipe.model, values, shares["variance"], shares["icc"], recipe.slopes)
        if problems:
            raise _CellError(problems)
    asked = (recipe.model, values, shares["variance"], shares["icc"], layout)
    plain = Population(recipe.model, tuple(params.tolist()), layout, "", slopes=recipe.slopes)
    population = _depart(recipe, found, plain, asked)
    return population, sizes.label


def _depart(recipe: Recipe, found: Mapping[Path, float], plain: Population, asked: Asked) -> Population:
    """Give a population its distribution, its missing values, and its keys."""
    distribution, problems = recipe.situation.distribution(recipe.model, found)
    rules, more = recipe.situation.rules(recipe.model, found)
    if problems or more:
        raise _CellError([*problems, *more])
    keyed = partial(population_key, *asked, std_lv=recipe.std_lv, distribution=distribution, slopes=recipe.slopes)
    data_key = keyed()
    key = keyed(missing=rules) if rules else data_key
    population = replace(plain, key=key, data_key=data_key, distribution=distribution, missing=rules)
    try:
        _ = population.shapes, population.missing_rates
    except DesignError as error:
        raise _CellError([recipe.situation.problem(text) for text in error.problems]) from None
    return population


def _shares(found: Mapping[Path, float], what: str) -> Shares:
    """A scalar, a table, or None."""
    table = {str(path[1]): value for path, value in found.items() if len(path) == 2 and path[0] == what}
    return table or found.get((what,))


def _layout(
    recipe: Recipe, levels: Mapping[str, Level], found: Mapping[Path, float]
) -> tuple[ClusterSizes, ClusterLayout]:
    """Cluster sizes of a cell."""
    sizes = recipe.sizes
    try:
        if ("cluster_size",) in found:
            sizes = parse_sizes(_whole(found["cluster_size",], "cluster_size"))
        elif sizes is None:
            level = levels[recipe.sizes_key]
            sizes = level if isinstance(level, ClusterSizes) else parse_sizes(level)
        n_clusters = _whole(found["n_clusters",], "n_clusters") if ("n_clusters",) in found else None
        layout = sizes.layout(n_clusters, recipe.sizes_key)
    except DesignError as error:
        raise _CellError([Problem(problem.split(":")[0], problem) for problem in error.problems]) from None
    if layout.n_clusters <= recipe.n_between:
        text = (
            f"{layout.n_clusters} clusters, but the between level of the model has {recipe.n_between} observed "
            f"variables; allowed: at least {recipe.n_between + 1} clusters"
        )
        raise _CellError([Problem(recipe.sizes_key if n_clusters is None else "n_clusters", text)])
    return sizes, layout


def _whole(value: float, what: str) -> int:
    if not (value == value // 1 and 1 <= value < 2**31):
        raise DesignError(f"{what}: found {value:g}; allowed: a whole number of at least 1")
    return int(value)


def population_key(
    model: TwoLevelModel,
    values: Mapping[str, float],
    variance: Shares,
    icc: Shares,
    layout: ClusterLayout,
    *,
    std_lv: bool = False,
    distribution: Distribution = NORMAL_POPULATION,
    missing: Sequence[MissingRule] = (),
    slopes: Meaning = "latent",
) -> str:
    """Address of a population's random numbers: 16 hex digits.

    Hashes what was asked for: the statements of the generating model (without labels, starting values, ``:=`` and
    layout), values by path, variances and ICCs by variable, the cluster sizes, the distribution and the missing values
    where data are not normal and complete, and what random slopes multiply where that is not the latent deviation and
    makes a difference. Not what was computed from it, whose last digits may differ between
    machines; and not labels (but for those of ``==`` constraints) or the order of values, so that the same population
    has the same data in every design with the same seed.
    """
    rows = [
        [row.level, row.lhs, row.op, row.rhs, None if row.free >= 0 else row.value, *([row.slope] if row.slope else [])]
        for row in model.table.rows
        if row.user
    ]
    given = {}
    for name, value in values.items():
        named = resolve(model, name)
        assert not isinstance(named, str)
        first = named if named.free < 0 else next(row for row in model.table.rows if row.free == named.free)
        given[first.path] = float(value)
    shares = {
        what: {name: float(asked) for name in names if (asked := _of(share, name)) is not None}
        for what, share, names in (("variance", variance, model.variables), ("icc", icc, model.both))
    }
    sizes = run_lengths(layout)
    content: dict[str, object] = {
        "version": 1, "model": rows, "std_lv": std_lv, "values": given, **shares, "sizes": sizes
    }  # fmt: skip
    if model.table.constraints:
        paths = {row.label: row.path for row in reversed(model.table.rows)}
        content["constraints"] = [
            ["".join(constraint.text.split()), {name: paths[name] for name in constraint.names}]
            for constraint in model.table.constraints
        ]
    if not distribution.normal:
        content["distribution"] = asdict(distribution)
    if slopes != "latent" and any(slope.predictor in model.both for slope in model.slopes):
        content["slopes"] = slopes
    if missing:
        content["missing"] = sorted([rule.variable, rule.rate, rule.on, rule.slope] for rule in missing)
    return digest_of(content)[:16]


def _of(share: Shares, name: str) -> float | None:
    return share.get(name) if isinstance(share, Mapping) else share


@dataclass
class _Tally:
    """Problems of cells, each with the first cell that has it and the number of others."""

    n_cells: int
    found: dict[str, tuple[str, str, set[str], int]] = field(default_factory=dict)

    def add(self, index: int, factors: Mapping[str, float | str], problems: Sequence[Problem]) -> None:
        """Note the problems of a cell."""
        title = ", ".join(f"{name} = {value}" for name, value in factors.items())
        for problem in problems:
            cell, text, texts, count = self.found.get(
                problem.topic, (f"cell {index} ({title})", problem.text, set[str](), 0)
            )
            self.found[problem.topic] = (cell, text, texts | {problem.text}, count + 1)

    def report(self, problems: Problems, recipe: Recipe, factors: Sequence[str]) -> None:
        """Note each problem once, at the key it is about."""
        for topic, (cell, text, texts, count) in self.found.items():
            path = _blame(topic, recipe, factors, problems)
            text = text.removeprefix(f"{path[-1]}: ").removeprefix(f"'{path[-1]}': ")
            if count == self.n_cells and len(texts) == 1:
                problems.add(path, text)
            else:
                more = f"; and {count - 1} more cell{'s' * (count > 2)}" if count > 1 else ""
                problems.add(path, f"{cell}: {text}{more}")


def _blame(topic: str, recipe: Recipe, factors: Sequence[str], problems: Problems) -> Path:
    """The key that a problem is about: a value, a share of a variable, cluster sizes, or the whole section."""
    what, _, name = topic.partition(".")
    if what in DEPARTURES:
        return ("population", *topic.split()[0].split("."))
    if what not in SHARES and topic.split()[0].rstrip(":") in LEVELS and (topic,) not in recipe.entries:
        name = topic.split()[1] if " " in topic else ""
        what = next((s for s in ("icc", "variance") if (s,) in recipe.entries or (s, name) in recipe.entries), "")
    elif what not in SHARES:
        what, name = (topic if (topic,) in recipe.entries or topic in SETTINGS else ""), ""
    if name and (what, name) in recipe.entries:
        return ("population", what, name)
    if what in factors and not problems.has(("population", what)):
        return ("factors", what)
    return ("population", what) if what else ("population",)
