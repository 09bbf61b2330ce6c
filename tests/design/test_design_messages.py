"""Every problem of a design file gets one message with file, line, key, what was found and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from design_fakes import POPULATION, SECTIONS, text_of

from simstudy.design import load_design, parse_design
from simstudy.errors import DesignError


def problems(text: str) -> list[str]:
    with pytest.raises(DesignError) as caught:
        parse_design(text, "d.toml")
    return list(caught.value.problems)


def test_the_base_is_valid() -> None:
    assert len(parse_design(text_of(), "d.toml").cells) == 8


CASES: list[tuple[str, dict[str, str], str, str]] = [
    # what, sections, a fragment of the line it is on, the message behind "d.toml:LINE: "
    ("unknown key", {"study": 'name = "t"\nreplicatons = 10\nreplications = 10\nseed = 1'}, "replicatons",
     "study.replicatons: unknown key (did you mean 'replications'?); allowed: name, aim, replications, seed"),
    ("unknown section", {"estimator": "a = 1"}, "[estimator]",
     "estimator: unknown section (did you mean 'estimators'?); allowed: study, model, population, factors, exclude, "
     "estimators, intervals"),
    ("no replications", {"study": 'name = "t"\nreplications = 0\nseed = 1'}, "replications",
     "study.replications: found 0; allowed: a whole number of at least 1"),
    ("replications not whole", {"study": 'name = "t"\nreplications = 10.5\nseed = 1'}, "replications",
     "study.replications: found 10.5; allowed: a whole number of at least 1"),
    ("seed", {"study": 'name = "t"\nreplications = 10\nseed = "one"'}, "seed",
     "study.seed: found 'one'; allowed: a whole number"),
    ("missing key", {"study": 'name = "t"\nreplications = 10'}, "[study]",
     "study.seed: missing; needed: a whole number"),
    ("study name", {"study": 'name = "../t"\nreplications = 10\nseed = 1'}, "name",
     "study.name: found '../t'; allowed: letters, digits, '.', '_' and '-', as in a file's name"),
    ("level of intervals", {"intervals": "level = 95"}, "level = 95",
     "intervals.level: found 95; allowed: a number between 0 and 1, such as 0.95"),
    ("kind of intervals", {"intervals": 'kinds = ["wold"]'}, "kinds",
     "intervals.kinds.1: found 'wold'; allowed: a list of \"wald\" and \"montecarlo\""),
    ("draws", {"intervals": "draws = 10"}, "draws",
     "intervals.draws: found 10; allowed: a whole number of at least 100"),
    ("syntax error in the model",
     {"model": 'syntax = """\nlevel: within\n  y ~ bw*log(x)\nlevel: between\n  y ~ x\n"""'},
     "log", "model.syntax: model line 2, column 7: 'log(x)' is not a variable name; functions of variables must be "
     "columns of their own"),
    ("product in the model", {"model": 'syntax = """\nlevel: within\n  y ~ bw*x:z\nlevel: between\n  y ~ bb*x\n"""'},
     "syntax", "model.syntax: 'x:z' is a product of columns; data are drawn for models without products only"),
    ("model on one line", {"model": 'syntax = "level: within; y ~ x; levl: between; y ~ x"'}, "levl",
     "model.syntax: model line 1, column 23: no operator in 'levl: between'; expected one of =~  ~  ~~  :=  ==  <  >  "
     "or 'level: within'"),
    ("empty model", {"model": 'syntax = ""'}, "syntax",
     "model.syntax: found ''; allowed: model text with 'level: within' and 'level: between'"),
    ("unknown value", {"population": POPULATION + "\nbww = 1.0"}, "bww",
     "population.bww: the generating model has no such parameter (did you mean 'bw'?)"),
    ("misspelt setting", {"population": POPULATION.replace("variance", "varience")}, "varience",
     "population.varience: the generating model has no such parameter (did you mean 'variance'?)"),
    ("unknown variable in icc", {"population": POPULATION.replace("y = 0.2", "y = 0.2, yy = 0.1")}, "icc =",
     "population.icc.yy: unknown variable 'yy' (did you mean 'y'?); allowed: y, x"),
    ("unknown variable in variance", {"population": POPULATION.replace("1.0", "{ x = 1, y = 1, z = 2 }")}, "variance",
     "population.variance.z: unknown variable 'z'; allowed: y, x"),
    ("icc outside [0, 1)", {"population": POPULATION.replace("y = 0.2", "y = 1.0")}, "icc =",
     "population.icc.y: found 1; allowed: at least 0 and below 1"),
    ("icc by expression", {"population": POPULATION.replace('"icc"', '"4*icc"')}, "icc =",
     "population.icc.x: cell 1 (n_clusters = 30, cluster_size = 5, icc = 0.3): icc of 'x': found 1.2; allowed: at "
     "least 0 and below 1; and 3 more cells"),
    ("impossible variance", {"population": POPULATION.replace("y = 0.2", "y = 0.1")}, "icc =",
     "population.icc.y: cell 1 (n_clusters = 30, cluster_size = 5, icc = 0.3): impossible between variance of 'y': "
     "variance 1 with icc 0.1 makes it 0.1, but its paths and the variables behind them alone explain 0.147; possible: "
     "icc of 'y' of at least 0.147 (with variance 1), or a smaller |bb|; and 3 more cells"),
    ("size 1 everywhere", {"factors": SECTIONS["factors"].replace("[5,", "[1,")}, "cluster_size",
     "factors.cluster_size: cell 0 (n_clusters = 30, cluster_size = 1, icc = 0.1): every cluster has 1 row, so "
     "within-cluster variances are not identified; give at least one cluster 2 rows or more; and 3 more cells"),
    ("too few clusters", {"factors": SECTIONS["factors"].replace("30", "2")}, "n_clusters",
     "factors.n_clusters: cell 0 (n_clusters = 2, cluster_size = 5, icc = 0.1): 2 clusters, but the between level of "
     "the model has 2 observed variables; allowed: at least 3 clusters; and 3 more cells"),
    ("clusters not whole", {"factors": SECTIONS["factors"].replace("30", "30.5")}, "n_clusters",
     "factors.n_clusters: cell 0 (n_clusters = 30.5, cluster_size = 5, icc = 0.1): found 30.5; allowed: a whole number "
     "of at least 1; and 3 more cells"),
    ("text as factor", {"factors": SECTIONS["factors"].replace("0.1,", '"low",')}, "icc = [",
     "factors.icc: found 'low'; allowed: numbers (specifications of cluster sizes: in 'cluster_size' alone)"),
    ("sizes in an expression", {"population": POPULATION.replace("bw = 0.2", 'bw = "cluster_size/50"')}, "bw =",
     "population.bw: factor 'cluster_size' is used in the expression 'cluster_size/50', but its value '2-18' is no "
     "number"),
    ("empty factor", {"factors": SECTIONS["factors"].replace("[0.1, 0.3]", "[]")}, "icc = [",
     "factors.icc: the list is empty; allowed: one value or more"),
    ("factor is no list", {"factors": SECTIONS["factors"].replace("[0.1, 0.3]", "0.1")}, "icc = 0.1",
     "factors.icc: found 0.1; allowed: a list of values for each factor"),
    ("repeated value", {"factors": SECTIONS["factors"].replace("50]", "30.0]")}, "n_clusters",
     "factors.n_clusters: the value 30.0 stands in the list twice"),
    ("unused factor", {"factors": SECTIONS["factors"] + "\nbias = [1, 2]"}, "bias",
     "factors.bias: the factor is used nowhere; use it in an expression of [population], such as icc = \"bias\""),
    ("factor against value", {"factors": SECTIONS["factors"] + "\nbb = [0.1, 0.2]"}, "bb = [",
     "factors.bb: the factor has no effect: [population] gives 'bb' without using it; use it in an expression there, "
     "or leave one of them out"),
    ("factor named as a column", {"factors": SECTIONS["factors"] + "\nn = [1, 2]"}, "n = [1",
     "factors.n: 'n' is the name of a column of the results; give the factor another name"),
    ("cluster sizes", {"factors": SECTIONS["factors"].replace("uniform", "unifrom")}, "cluster_size",
     "factors.cluster_size: unknown kind of cluster sizes 'unifrom' (did you mean 'uniform'?); allowed: a whole number "
     "such as 10, { uniform = [2, 18] }, { mix = { 5 = 0.4, 20 = 0.6 } }, or every cluster's size as [12, 15, 15] or "
     "{ sizes = [12, 15, 15] }"),
    ("no cluster sizes", {"factors": "n_clusters = [30]\nicc = [0.1]"}, "[population]",
     "population: cluster sizes are missing: give cluster_size (here or as a factor), or clusters such as "
     "\"40 (5) 50 (10)\""),
    ("no n_clusters", {"factors": "cluster_size = [5]\nicc = [0.1]"}, "[population]",
     "population: n_clusters is missing: give it here or as a factor"),
    ("clusters and cluster_size", {"factors": "cluster_size = [5]\nicc = [0.1]",
     "population": POPULATION + '\nclusters = "30 (5)"'}, "cluster_size",
     "factors.cluster_size: 'clusters' fixes number and sizes of clusters at once; leave one of them out"),
    ("groups", {"factors": "icc = [0.1]", "population": POPULATION + '\nclusters = "30 x 5"'}, "clusters",
     "population.clusters: found '30 x 5'; allowed: text such as \"40 (5) 50 (10)\" for 40 clusters of 5 rows and 50 "
     "of 10"),
    ("expression", {"population": POPULATION.replace('"icc"', '"(icc + 1"')}, "icc =",
     "population.icc.x: expression: missing ')' at column 9 of '(icc + 1'"),
    ("unknown name", {"population": POPULATION.replace('"icc"', '"icx"')}, "icc =",
     "population.icc.x: unknown name 'icx' in the expression 'icx' (did you mean 'icc'?); allowed: n_clusters, icc, "
     "bw, bb, variance"),
    ("circle", {"population": POPULATION.replace("bw = 0.2", 'bw = "bb/2"').replace("0.7", '"bw + 0.1"')}, "bw =",
     "population.bw: these values depend on each other in a circle: bw -> bb -> bw"),
    ("not a number", {"population": POPULATION.replace("bw = 0.2", "bw = [0.2]")}, "bw =",
     "population.bw: found [0.2]; allowed: a number or an expression of factors and values, in quotes"),
    ("true is no number", {"population": POPULATION.replace("bw = 0.2", "bw = true")}, "bw =",
     "population.bw: found true; allowed: a number or an expression of factors and values, in quotes"),
    ("infinite", {"population": POPULATION.replace("bw = 0.2", '"between: y ~ 1" = "1/0"\nbw = 0.2')}, "y ~ 1",
     "population.between: y ~ 1: inf is not a finite number"),
    ("missing value", {"population": POPULATION.replace("bb = 0.7", "")}, "[population]",
     "population: no value is given for 'bb'; give a number or an expression by label or by path"),
    ("unknown method", {"estimators": 'use = ["fakee"]'}, "use",
     "estimators.use: unknown method 'fakee' (did you mean 'fake'?); known: "),
    ("method twice", {"estimators": 'use = ["fake", "fake"]'}, "use",
     "estimators.use: 'fake' stands in the list twice"),
    ("no method", {"estimators": "use = []"}, "use",
     'estimators.use: found []; allowed: a list of methods such as ["mlm", "msem"]'),
    ("unknown option", {"estimators": 'use = ["fake"]\nfake = { sse = 1 }'}, "fake =",
     "estimators.fake: method 'fake': unknown option 'sse' (did you mean 'se'?); allowed: se, estimator_steps"),
    ("option's value", {"estimators": 'use = ["fake"]\n[estimators.fake]\nestimator_steps = "many"'},
     "[estimators.fake]", "estimators.fake: method 'fake': option 'estimator_steps': Input should be a valid integer"),
    ("options of another method", {"estimators": 'use = ["fake"]\nfaek = { se = [] }'}, "faek",
     "estimators.faek: options of a method that is not in 'use' (did you mean 'fake'?)"),
    ("options of a method not used", {"estimators": 'use = ["fake"]\nmsem = { se = ["robust"] }'}, "msem",
     "estimators.msem: options of a method that is not in 'use'; add it there, or leave them out"),
    ("options of a method from elsewhere", {"estimators": 'use = ["fake"]\n"fake_methods:Fake" = { se = [] }'},
     "fake_methods", "estimators.fake_methods:Fake: options of a method that is not in 'use'"),
    ("import", {"estimators": 'use = ["fake_methods:Other"]'}, "use",
     "estimators.use: method 'fake_methods:Other' cannot be imported: "),
    ("unknown factor excluded", {"exclude": "n_cluster = 30"}, "n_cluster = 30",
     "exclude.1.n_cluster: unknown factor 'n_cluster' (did you mean 'n_clusters'?); allowed: n_clusters, cluster_size, "
     "icc"),
    ("unknown value excluded", {"exclude": "icc = 0.15"}, "icc = 0.15",
     "exclude.1.icc: 0.15 is no value of the factor 'icc'; allowed: 0.1, 0.3"),
    ("unknown sizes excluded", {"exclude": 'cluster_size = "2-19"'}, '"2-19"',
     "exclude.1.cluster_size: '2-19' is no value of the factor 'cluster_size' (did you mean '2-18'?); allowed: 5, "
     "2-18"),
    ("everything excluded", {"exclude": "icc = [0.1, 0.3]"}, "[[exclude]]",
     "exclude.1: no cell is left: the tables exclude every combination of factor values"),
    ("variable of the other level",
     {"population": 'bb = 0.7\nvariance = 1.0\nicc = { y = "icc" }\n'
      'syntax = """\nlevel: within\n y ~~ y\nlevel: between\n y ~ bb*x\n"""'}, "syntax = \"\"\"\nlevel: within\n y ~~",
     "population.syntax: variable 'x' is measured at level 1 in the analysed model, but at level 2 in the generating "
     "model"),
    ("variable that is not generated",
     {"population": 'bb = 0.7\nvariance = 1.0\nicc = { y = "icc" }\n'
      'syntax = """\nlevel: within\n y ~~ y\nlevel: between\n y ~ bb*z\n"""'}, "syntax = \"\"\"\nlevel: within\n y ~~",
     "population.syntax: the generating model has no variable 'x', which the analysed model has; it has: y, z"),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "fragment", "message"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_message(sections: dict[str, str], fragment: str, message: str) -> None:
    text = text_of(**sections)
    line = text.count("\n", 0, text.index(fragment)) + 1
    found = problems(text)
    assert len(found) == 1, found
    assert found[0].startswith(f"d.toml:{line}: {message}"), found[0]


def test_toml_syntax_errors_have_line_and_column() -> None:
    assert problems("[study]\nname = \n") == ["d.toml:2:8: TOML syntax error: Invalid value"]
    assert problems('[study]\nname = "a')[0].startswith("d.toml:2:end: TOML syntax error: Unterminated string")
    assert problems("[population]\nbw = .5, 3\n")[0].endswith("(a number begins with a digit: 0.5)")


def test_missing_sections() -> None:
    assert problems('[study]\nname = "t"\nreplications = 1\nseed = 1\n') == [
        "d.toml: model: the section [model] is missing",
        "d.toml: estimators: the section [estimators] is missing",
    ]


def test_sections_of_the_wrong_kind() -> None:
    text = text_of(study="", model="", estimators="", factors="", population="")
    found = problems("study = 3\nmodel = [1]\nestimators = 'msem'\nfactors = 1\nexclude = 2\npopulation = 'x'\n" + text)
    assert [message.split(": ")[1] for message in found] == [
        "study", "model", "estimators", "factors", "exclude", "population"
    ]  # fmt: skip
    assert "found 3; allowed: a section [study]" in found[0]


def test_all_problems_of_a_file_are_reported_in_the_order_of_the_file() -> None:
    found = problems(
        text_of(
            study='name = "t"\nreplications = -1\nseed = 1',
            model='syntax = """\nlevel: within\n  y ~ bw*x +\nlevel: betwen\n  y ~ bb*x\n"""',
            factors="n_clusters = []\ncluster_size = [0]",
            estimators='use = ["fakee"]',
            intervals="level = 2",
        )
    )
    keys = [message.split(": ")[1] for message in found]
    expected = ["study.replications", "model.syntax", "factors.n_clusters", "factors.cluster_size", "estimators.use",
                "intervals.level"]  # fmt: skip
    assert list(dict.fromkeys(keys)) == expected
    lines = [int(message.split(":")[1]) for message in found]
    assert lines == sorted(lines)


def test_a_problem_of_every_cell_does_not_name_cells() -> None:
    found = problems(text_of(population=POPULATION.replace("variance = 1.0", "")))
    assert len(found) == 4  # two variables at two levels
    assert all("cell" not in message and "more" not in message for message in found)
    assert "the within variance of 'y' is not determined: give the variance of 'y'" in found[0]


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "contextual.toml"
    file.write_text(text_of(), encoding="utf-8")
    assert load_design(file).name == "t"
    with pytest.raises(
        DesignError, match=r"contxtual.toml: there is no such file \(did you mean 'contextual.toml'\?\)"
    ):
        load_design(tmp_path / "contxtual.toml")
    with pytest.raises(DesignError, match="there is no such file"):
        load_design(tmp_path / "nowhere" / "a.toml")
    with pytest.raises(DesignError, match="cannot be read"):
        load_design(tmp_path)
    file.write_bytes(b'[study]\nname = "\xff"\n')
    with pytest.raises(DesignError, match="cannot be read"):
        load_design(file)
