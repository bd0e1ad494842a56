"""The two figures of the README as text (SVG): python make_figures.py REPORT FOLDER"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

from mmreward.report import comparison_figures as plots

mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "seed-results"}

report, folder = map(Path, sys.argv[1:])
(found,) = json.loads((report / "comparison.json").read_text())["benchmarks"].values()
folder.mkdir(parents=True, exist_ok=True)
for name, draw in (
    ("accuracies", plots.accuracies_figure),
    ("differences", plots.differences_figure),
):
    draw("vl_rewardbench", found).savefig(folder / f"{name}.svg", metadata={"Date": None})
