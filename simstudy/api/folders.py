"""Results folders: how far they are, and joining them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simstudy.api.study import default_folder
from simstudy.errors import SimstudyError
from simstudy.runner.merge import merge_folders
from simstudy.runner.progress import reporter
from simstudy.runner.status import StatusRecord, read_status
from simstudy.runner.tables import read_folder
from simstudy.runner.todo import Shard


def status(folder: str | Path) -> StatusRecord:
    """What is done, what failed and why.

    Parameters
    ----------
    folder : path
        Results folder.

    Returns
    -------
    StatusRecord

    Raises
    ------
    StoreError
        If it is not a results folder.

    Examples
    --------
    >>> import simstudy
    >>> study = simstudy.run(simstudy.init("contextual"), reps=20, jobs=1, progress=False)
    >>> simstudy.status(study.folder).complete
    True
    """
    return read_status(Path(folder))


def merge(folders: Sequence[str | Path], out: str | Path | None = None, progress: bool = True) -> StatusRecord:
    """Join results folders of one design, such as shards.

    Parameters
    ----------
    folders : sequence of path
    out : path, optional
        Joint folder; ``results/<study name>`` by default.
    progress : bool
        Say on standard error what is done.

    Returns
    -------
    StatusRecord

    Raises
    ------
    SimstudyError
        If a folder is no results folder, or they are of different designs.

    Examples
    --------
    >>> import simstudy
    >>> design = simstudy.init("contextual")
    >>> shares = [simstudy.run(design, reps=20, jobs=1, shard=f"{i}/2", progress=False).folder for i in (1, 2)]
    >>> simstudy.merge(shares, progress=False)
    <StudyStatus contextual: complete, 360 fits>
    """
    roots = [Path(folder) for folder in folders]
    if not roots:
        raise SimstudyError("merge: give at least one results folder")
    name = read_folder(roots[0]).manifest.name
    root = Path(out) if out is not None else default_folder(name, Shard())
    with reporter(progress) as report:
        merge_folders(roots, root, report.say)
    return read_status(root)
