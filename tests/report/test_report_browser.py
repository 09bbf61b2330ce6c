"""The report in headless Chromium: no errors, no requests, the selector and sorting work. Skipped without Chromium."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from simstudy import api
from simstudy.design import parse_design

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DESIGN = Path(__file__).resolve().parents[2] / "designs" / "smoke.toml"
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=4000",
]  # fmt: skip

LISTEN = """<script>
window.seen = [];
window.addEventListener("error", (event) => seen.push("error: " + event.message));
document.addEventListener("securitypolicyviolation", (event) => seen.push("blocked: " + event.blockedURI));
console.error = (...words) => seen.push("console: " + words.join(" "));
</script>"""

DRIVE = """<script>
const pick = (id, value) => {
  const select = document.getElementById(id);
  select.value = value;
  select.dispatchEvent(new Event("change"));
};
const read = () => document.querySelector("#cell-table caption").textContent;
const result = { start: read() };
pick("pick-parameter", "1");
pick("pick-cell", "0");
result.first = read();
const levels = [...document.getElementById("factor-0").options].map((option) => option.value);
pick("factor-0", levels[levels.length - 1]);
result.last = read();
result.level = levels[levels.length - 1];
const shown = [...document.querySelectorAll("[data-moments]")].filter((element) => !element.hidden);
result.moments = shown.map((element) => element.dataset.moments);
result.cell = document.getElementById("pick-cell").value;
const buttons = document.querySelectorAll("#cell-table thead button");
buttons[2].click();
const column = () => [...document.querySelectorAll("#cell-table tbody tr")].map((row) => row.cells[2].textContent);
result.up = column();
buttons[2].click();
result.down = column();
result.sorted = document.querySelectorAll("#cell-table thead th")[2].getAttribute("aria-sort");
result.resources = performance.getEntriesByType("resource").map((entry) => entry.name.slice(0, 5));
result.seen = window.seen;
const note = document.createElement("pre");
note.id = "result";
note.textContent = JSON.stringify(result);
document.body.append(note);
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_report_works_in_a_browser(tmp_path: Path) -> None:
    root = tmp_path / "results"
    api.run(parse_design(DESIGN.read_text(encoding="utf-8")), out=root, reps=20, jobs=1, progress=False)
    text = api.write_report(root).read_text(encoding="utf-8")
    text = text.replace("<head>", "<head>" + LISTEN, 1).replace("</body>", DRIVE + "</body>", 1)
    file = tmp_path / "driven.html"
    file.write_text(text, encoding="utf-8")
    assert CHROMIUM is not None
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [CHROMIUM, *QUIET, profile, "--dump-dom", file.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert found, done.stderr[-2000:]
    result = json.loads(html.unescape(found.group(1)))
    assert result["seen"] == []
    assert result["resources"] == []
    assert result["first"].startswith("Cell 0: ")
    assert result["start"] != result["first"] != result["last"]
    assert f"= {result['level']}" in result["last"]
    assert result["moments"] == [result["cell"]]

    def numbers(texts: list[str]) -> list[float]:
        return [float(text.split()[0]) for text in texts if text not in ("n/a", "-")]

    assert numbers(result["up"]) == sorted(numbers(result["up"]))
    assert numbers(result["down"]) == sorted(numbers(result["down"]), reverse=True)
    assert result["sorted"] == "descending"
