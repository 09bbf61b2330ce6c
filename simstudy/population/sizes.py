"""Cluster-size specifications -> `ClusterLayout`.

| written | means |
|---|---|
| ``10`` | every cluster has 10 rows |
| ``{ uniform = [2, 18] }`` | sizes spread evenly over 2, 3, ..., 18 |
| ``{ mix = { 5 = 0.4, 20 = 0.6 } }`` | 40 % of the clusters have 5 rows, 60 % have 20 |
| ``[12, 15, 15]`` or ``{ sizes = [12, 15, 15] }`` | every cluster's size; fixes the number of clusters |
| ``"40 (5) 50 (10) 20 (15)"`` | number (size), as CSIZES of Mplus; fixes the number of clusters |

No specification is random: the same one and the same number of clusters give the same sizes, so that no luck of a draw
enters a cell and its replicates differ by sampling alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

from simstudy.data.layout import ClusterLayout
from simstudy.errors import DesignError, did_you_mean

KINDS = ("uniform", "mix", "sizes")
ALLOWED = (
    "a whole number such as 10, { uniform = [2, 18] }, { mix = { 5 = 0.4, 20 = 0.6 } }, "
    "or every cluster's size as [12, 15, 15] or { sizes = [12, 15, 15] }"
)
_GROUP = re.compile(r"\s*(\d+)\s*\(\s*(\d+)\s*\)\s*[,;]?")


@dataclass(frozen=True)
class ClusterSizes:
    """How large clusters are.

    Attributes
    ----------
    kind : str
        ``constant``, ``uniform``, ``mix`` or ``explicit``.
    sizes : tuple of int
        The size; lowest and highest; the sizes mixed; every cluster's size, ascending.
    shares : tuple of Fraction
        Shares of the sizes of a mix, which add up to 1; otherwise empty.
    """

    kind: str
    sizes: tuple[int, ...]
    shares: tuple[Fraction, ...] = ()

    @property
    def n_clusters(self) -> int | None:
        """Number of clusters where the specification fixes it, otherwise None."""
        return len(self.sizes) if self.kind == "explicit" else None

    @property
    def label(self) -> str:
        """Short name for tables: ``10``, ``2-18``, ``5:40% 20:60%``, ``40(5) 50(10)``."""
        if self.kind == "constant":
            return str(self.sizes[0])
        if self.kind == "uniform":
            return f"{self.sizes[0]}-{self.sizes[1]}"
        if self.kind == "mix":
            return " ".join(f"{size}:{_percent(share)}%" for size, share in zip(self.sizes, self.shares, strict=True))
        return " ".join(f"{len(list(group))}({size})" for size, group in groupby(self.sizes))

    def layout(self, n_clusters: int | None = None, where: str = "cluster_size") -> ClusterLayout:
        """Sizes of ``n_clusters`` clusters.

        Raises
        ------
        DesignError
            If the number of clusters is missing or contradicts explicit sizes, or if every cluster has one row: the
            variation within clusters is then not identified.
        """
        if self.n_clusters is not None and n_clusters is not None and n_clusters != self.n_clusters:
            raise DesignError(f"{where}: {self.n_clusters} sizes are listed, but n_clusters is {n_clusters}")
        n = self.n_clusters if n_clusters is None else n_clusters
        if n is None:
            raise DesignError(f"{where}: the number of clusters is missing")
        if n < 1:
            raise DesignError(f"{where}: found {n} clusters; at least 1 is needed")
        layout = ClusterLayout.of(self._sizes(n))
        if layout.n_obs == layout.n_clusters:
            raise DesignError(
                f"{where}: every cluster has 1 row, so within-cluster variances are not identified; "
                "give at least one cluster 2 rows or more"
            )
        return layout

    def _sizes(self, n: int) -> Sequence[int]:
        if self.kind == "explicit":
            return self.sizes
        if self.kind == "constant":
            return self.sizes * n
        if self.kind == "uniform":
            low, high = self.sizes
            # quantile (j - 1/2) / J of the uniform distribution on low..high, in whole numbers
            return [low + (2 * j - 1) * (high - low + 1) // (2 * n) for j in range(1, n + 1)]
        return [size for size, count in zip(self.sizes, _allocate(self.shares, n), strict=True) for _ in range(count)]


def _percent(share: Fraction) -> str:
    return f"{float(100 * share):.3g}"


def _allocate(shares: Sequence[Fraction], n: int) -> list[int]:
    """Whole counts that add up to ``n``, by largest remainder; ties go to the smaller size."""
    counts = [int(share * n) for share in shares]
    order = sorted(range(len(shares)), key=lambda k: (counts[k] - shares[k] * n, k))
    for k in order[: n - sum(counts)]:
        counts[k] += 1
    return counts


def parse_sizes(value: object, where: str = "cluster_size") -> ClusterSizes:
    """Read a specification, as TOML gives it.

    Raises
    ------
    DesignError
        With ``where``, what was found and what is allowed.
    """
    if isinstance(value, ClusterSizes):
        return value
    if _whole(value):
        return ClusterSizes("constant", (_size(value, where),))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _explicit(value, where)
    if isinstance(value, Mapping) and len(value) == 1:
        kind, body = next(iter(value.items()))
        if kind == "uniform":
            return _uniform(body, where)
        if kind == "mix":
            return _mix(body, where)
        if kind == "sizes":
            return _explicit(body, where)
        raise DesignError(
            f"{where}: unknown kind of cluster sizes '{kind}'{did_you_mean(str(kind), KINDS)}; allowed: {ALLOWED}"
        )
    raise DesignError(f"{where}: found {value!r}; allowed: {ALLOWED}")


def parse_groups(text: object, where: str = "clusters") -> ClusterSizes:
    """Read ``number (size)`` groups as in Mplus: ``"40 (5) 50 (10) 20 (15)"`` is 40 clusters of 5 rows, and so on.

    Raises
    ------
    DesignError
        If the text is not of that form.
    """
    if isinstance(text, ClusterSizes):
        return text
    sizes: list[int] = []
    position = 0
    if isinstance(text, str):
        while match := _GROUP.match(text, position):
            sizes.extend([_size(int(match.group(2)), where)] * int(match.group(1)))
            position = match.end()
    if not isinstance(text, str) or text[position:].strip() or not sizes:
        raise DesignError(
            f'{where}: found {text!r}; allowed: text such as "40 (5) 50 (10)" for 40 clusters of 5 rows and 50 of 10'
        )
    return ClusterSizes("explicit", tuple(sorted(sizes)))


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _size(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DesignError(f"{where}: found {value!r}; a cluster size is a whole number of at least 1")
    return value


def _explicit(value: object, where: str) -> ClusterSizes:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise DesignError(f"{where}: found {value!r}; allowed: a list of cluster sizes such as [12, 15, 15]")
    return ClusterSizes("explicit", tuple(sorted(_size(size, where) for size in value)))


def _uniform(body: object, where: str) -> ClusterSizes:
    if not isinstance(body, Sequence) or isinstance(body, str) or len(body) != 2:
        raise DesignError(f"{where}: uniform = {body!r}; allowed: lowest and highest size such as [2, 18]")
    low, high = (_size(size, where) for size in body)
    if low > high:
        raise DesignError(f"{where}: uniform = [{low}, {high}]; the lowest size comes first: [{high}, {low}]")
    return ClusterSizes("uniform", (low, high)) if low < high else ClusterSizes("constant", (low,))


def _mix(body: object, where: str) -> ClusterSizes:
    if not isinstance(body, Mapping) or not body:
        raise DesignError(f"{where}: mix = {body!r}; allowed: share by size such as {{ 5 = 0.4, 20 = 0.6 }}")
    shares: dict[int, Fraction] = {}
    for key, share in body.items():
        if not re.fullmatch(r"[0-9]+", str(key)):
            raise DesignError(f"{where}: mix has the size '{key}'; a cluster size is a whole number of at least 1")
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
            raise DesignError(f"{where}: mix gives size {key} the share {share!r}; allowed: above 0 and at most 1")
        size = _size(int(key), where)
        if size in shares:
            raise DesignError(f"{where}: mix has the size {size} twice")
        shares[size] = Fraction(repr(share))
    total = sum(shares.values(), Fraction(0))
    if abs(total - 1) > Fraction(1, 10**6):  # as many digits as people type of thirds and sevenths
        raise DesignError(f"{where}: the shares of mix add up to {float(total):.6g}; they must add up to 1")
    sizes = tuple(sorted(shares))
    if len(sizes) == 1:
        return ClusterSizes("constant", sizes)
    return ClusterSizes("mix", sizes, tuple(shares[size] / total for size in sizes))


def run_lengths(layout: ClusterLayout) -> list[tuple[int, int]]:
    """(size, number of clusters) of every distinct size, ascending: the short form of a layout."""
    return sorted(Counter(layout.sizes).items())
