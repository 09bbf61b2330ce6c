"""Workers that die, interruptions, and kill -9 of everything."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from run_fakes import design_text, snapshot, tables

from simstudy import api
from simstudy.design import parse_design
from simstudy.errors import SimstudyError
from simstudy.population.draw import draw_statistics
from simstudy.runner.backends import local
from simstudy.runner.backends.local import n_workers
from simstudy.runner.parts import read_part

HERE = Path(__file__).parent


def deadly(lives, *others, **options):
    return design_text("Deadly", *others, options={"deadly": f'lives = "{lives}"'}, **options)


def run(text, root, **options):
    return api.run_study(parse_design(text), root, **{"jobs": 2, "block_size": 10, **options})


@pytest.mark.slow
def test_a_killed_worker_costs_its_block_and_nothing_else(tmp_path, capsys):
    lives = tmp_path / "lives"
    lives.write_text("1")
    root, fresh = tmp_path / "study", tmp_path / "fresh"
    found = run(deadly(lives, "Fake"), root)
    assert lives.read_text() == ""
    assert "a worker process was killed" in capsys.readouterr().err
    assert found.failures["EXCEPTION"].sum() == 0
    run(deadly(lives, "Fake"), fresh, jobs=1)
    assert tables(root) == tables(fresh)


@pytest.mark.slow
def test_a_block_that_kills_its_worker_again_and_again_is_reported(tmp_path, capsys):
    """Only the fits of the method that does it; and a later run tries again."""
    lives = tmp_path / "lives"
    lives.write_text("1" * 100)
    root, fresh = tmp_path / "study", tmp_path / "fresh"
    text = deadly(lives, "Fake", clusters=(30,), reps=20, seed=3)
    design = parse_design(text)
    first = draw_statistics(design.cells[0].population, design.seed, range(20)).size_means[:, 0, 0]
    assert {replicate // 10 for replicate in np.flatnonzero(first > 0.15).tolist()} == {0}  # one block of the two
    found = run(text, root)
    assert capsys.readouterr().err.count("was killed 3 times on this block") == 1
    failures = found.failures.set_index("estimator")
    assert failures["EXCEPTION"].to_dict() == {"deadly": 10, "fake": 0}
    assert "was killed 3 times" in api.status(root).problems["message"].item()
    kept = {n: s for n, s in snapshot(root / "fits").items() if not read_part(root, n).killed}
    assert len(kept) == 2
    lives.write_text("")
    run(text, root)
    assert "blocks on which a worker was killed are tried again: 1" in capsys.readouterr().err
    after = snapshot(root / "fits")
    assert all(after[name] == state for name, state in kept.items())
    run(text, fresh, jobs=1)
    assert tables(root) == tables(fresh)


SCRIPT = """
import sys
from simstudy import api
from simstudy.design import parse_design
if __name__ == "__main__":
    from pathlib import Path
    api.run(parse_design(Path(sys.argv[1]).read_text()), sys.argv[2], jobs=2, block_size=5)
"""


@pytest.fixture
def start(tmp_path):
    """Start a run in a process group of its own, whatever is left of which is ended at the end."""
    (tmp_path / "script.py").write_text(SCRIPT)
    started = []

    def go(text, root):
        (tmp_path / "design.toml").write_text(text)
        path = os.pathsep.join([str(HERE.parents[1]), str(HERE)])
        command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "design.toml"), str(root)]
        environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True, preexec_fn=hears_ctrl_c
        )
        started.append(process)
        return process

    yield go
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def hears_ctrl_c():
    """A shell that starts the tests in the background has Ctrl-C ignored, which children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finished(root):
    return len(list((root / "fits").glob("*.parquet"))) if (root / "fits").is_dir() else 0


def wait_for(condition):
    """Wait for an event; the limit ends a test that hangs, and is far beyond what a busy machine needs."""
    end = time.monotonic() + 300.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def workers(process):
    found = subprocess.run(["pgrep", "-g", str(process.pid), "-f", "LokyProcess"], capture_output=True, text=True)
    return found.stdout.split()


def ignores_ctrl_c(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.search(r"SigIgn:\s*(\w+)", text)[1], 16) >> (signal.SIGINT - 1) & 1)


SLOW = design_text("Slow", "Fake", "mlm", options={"slow": "seconds = 0.015"}, reps=60)


@pytest.mark.slow
def test_kill_9_and_resume_gives_the_same_bytes(tmp_path, start):
    """The parent is killed at random moments; its workers end by themselves, and the last run finishes."""
    root, fresh = tmp_path / "study", tmp_path / "fresh"
    moments = random.Random(4)
    for round_ in range(3):
        process = start(SLOW, root)
        wait_for(lambda: finished(root) > 4 * round_ or process.poll() is not None)  # noqa: B023
        time.sleep(moments.uniform(0.0, 0.2))
        process.kill()
        process.wait()
        if round_ == 0:
            assert finished(root) < 24
    run(SLOW, root, jobs=1, block_size=5)
    run(SLOW, fresh, jobs=1)
    assert tables(root) == tables(fresh)


@pytest.mark.slow
def test_workers_end_when_their_parent_is_gone(tmp_path, start):
    process = start(SLOW, tmp_path / "study")
    wait_for(lambda: finished(tmp_path / "study") > 1)
    process.kill()
    process.wait()

    wait_for(lambda: not workers(process))


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished(tmp_path, start):
    """Both workers are at work (one that still starts may say that it was interrupted) on more than they can do."""
    root = tmp_path / "study"
    blocks = 2 * 2000 // 5  # of the two cells; a minute of fits
    process = start(design_text("Slow", "Fake", "mlm", options={"slow": "seconds = 0.015"}, reps=2000), root)
    wait_for(lambda: finished(root) > 1 and sum(map(ignores_ctrl_c, workers(process))) == 2)
    os.killpg(process.pid, signal.SIGINT)
    _, message = process.communicate(timeout=300)
    assert message.count("KeyboardInterrupt") == 1  # of the parent alone
    assert 0 < finished(root) < blocks
    assert all(read_part(root, path.name) for path in (root / "fits").glob("*.parquet"))


@pytest.mark.slow
def test_few_fast_fits_start_no_process(tmp_path, monkeypatch):
    """What is done before another process has started is done here; others' methods never are, nor more than that."""
    pools = []
    parallel = local._execute_parallel
    monkeypatch.setattr(local, "_execute_parallel", lambda *args: pools.append(args) or parallel(*args))
    few, own, many = (tmp_path / name for name in ("few", "own", "many"))
    run(design_text("mlm", "msem", reps=20), few)
    assert not pools
    run(design_text("Fake", reps=20), own)
    assert len(pools) == 1
    monkeypatch.setattr(local, "FEW_FITS", 2 * 2 * 20 - 1)
    run(design_text("mlm", "msem", reps=20), many)
    assert len(pools) == 2
    assert tables(few) == tables(many)


def test_number_of_workers():
    assert n_workers(3) == 3
    assert n_workers(None) == n_workers(-1) >= 1
    with pytest.raises(SimstudyError, match="jobs: found -2"):
        n_workers(-2)
