"""What an extension is made of: a method, a measure, a kind of figure, a kind of data, a likelihood.

- A method is a frozen dataclass that returns a `FitResult` with a `Status` for every data set; `register` makes its
  name known. One that inherits from `Estimator` has the defaults of what it does not say, one from `ChosenErrors` an
  option ``se``. A `Diagnostic` names a number that it tells of every fit; a `LikelihoodOf` says of what its
  log-likelihood is.
- A `Measure` of performance is a record; so is a `FigureKind`, whose function takes a table and a `Request` and returns
  a `Drawing`.
- A `DataKind` says how data are drawn and made of rows; a method names it in ``needs``.
- A `Likelihood` returns an `Evaluation` at a point; `with_fallback` climbs it.

Names are loaded on first use. They are written once, in ``extend.pyi``.

Examples
--------
>>> from simstudy.extend import Measure, register_measure
>>> spread = Measure(
...     name="spread",
...     label="Spread",
...     formula="max(est) - min(est); MCSE by the jackknife",
...     meaning="How far apart the most extreme estimates are.",
...     reads="estimate",
...     value=lambda x: x.estimate.max() - x.estimate.min(),
... )
>>> register_measure(spread).name
'spread'
"""

from simstudy.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
