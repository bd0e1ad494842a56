"""All figures of a run's report as one picture.

Pages that put runs side by side (MLflow's comparison) show files of the same name beside each
other; the overview is that file.
"""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

OVERVIEW = "overview.png"
WIDTH = 1200  # pixels
MOST_FIGURES = 24


def write_overview(folder: Path, report: str) -> None:
    """Saves the figures that the report shows, one below the other, as `OVERVIEW`."""
    names = re.findall(r"\]\((figures/[^)]+\.png)\)", report)[:MOST_FIGURES]
    pictures = []
    for name in names:
        with Image.open(folder / name) as file:
            height = round(file.height * WIDTH / file.width)
            pictures.append(file.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (WIDTH, sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    if pictures:
        sheet.save(folder / OVERVIEW)
