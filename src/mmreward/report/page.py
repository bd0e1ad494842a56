"""The pages that reports are: report.md, the same as report.html, and their figures in one."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from PIL import Image

from mmreward.report import figures as plots

REPORT = "report.md"
FIGURES = "figures"
OVERVIEW = "overview.png"
EXCERPT = 600
OVERVIEW_WIDTH = 1200  # pixels
MOST_FIGURES = 24

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 70rem;
       padding: 0 1.5rem; }
h1, h2, h3 { line-height: 1.2; margin-top: 2em; }
h1 { margin-top: 0; }
table { border-collapse: collapse; display: block; font-size: 0.9rem; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: 0.35em 0.6em; }
td[style*="right"] { white-space: nowrap; }
th { border-bottom: 2px solid #888; }
td { font-variant-numeric: tabular-nums; }
img { height: auto; max-width: 100%; }
img[src^="data:image/jpeg"] { border: 1px solid #ddd; }
pre { background: #f5f5f5; overflow-wrap: anywhere; padding: 0.8em 1em; white-space: pre-wrap; }
blockquote { background: #fff4e0; border-left: 4px solid #e69f00; margin: 1em 0;
             padding: 0.1em 1em; }
"""


def write_json(path: Path, content: Any) -> None:
    """Writes what the page beside it shows as numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_page(path: Path, blocks: Iterable[str]) -> Path:
    """Writes paragraphs, tables and links as a Markdown file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Lone surrogates in answers have no UTF-8 form.
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8", errors="replace")
    return path


def quoted(heading: str, text: str | None) -> Iterator[str]:
    """A fenced block that the text cannot close."""
    text = "(text not stored)" if text is None else text
    if len(text) > EXCERPT:
        text = text[:EXCERPT] + f" … ({len(text)} characters)"
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{heading}:", f"{fence}text\n{text}\n{fence}")


def save_figure(folder: Path, name: str, figure: Any) -> str:
    """Saves a figure and returns the link to it."""
    file = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") + ".png"
    plots.save(figure, folder / FIGURES / file)
    return f"![{name}]({FIGURES}/{file})"


def write_html(report: Path) -> Path:
    """Writes report.html beside report.md, one file with its figures inside, and returns its path.

    HTML in the Markdown stays text: prompts and answers come from anywhere. Images are those of
    the report's own folder; a link to anything else is left as it is.
    """
    text = report.read_text(encoding="utf-8")
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = re.sub(r'<img src="([^"]+)"', lambda found: _embedded(report.parent, found), body)
    heading = re.search("<h1>(.*?)</h1>", body)
    title = re.sub("<[^>]*>", "", heading[1]) if heading else "Report"
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>'
        f"\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
    path = report.with_suffix(".html")
    path.write_text(page, encoding="utf-8")
    return path


def _embedded(folder: Path, found: re.Match[str]) -> str:
    path = (folder / unquote(found[1])).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return found[0]
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img src="data:image/{kind};base64,{content}"'


def write_overview(folder: Path, report: str) -> None:
    """Saves the figures that the report shows, one below the other, as `OVERVIEW`.

    Pages that put runs side by side (MLflow's comparison) show files of the same name beside each
    other; the overview is that file.
    """
    names = re.findall(r"\]\((figures/[^)]+\.png)\)", report)[:MOST_FIGURES]
    pictures = []
    for name in names:
        with Image.open(folder / name) as file:
            size = (OVERVIEW_WIDTH, round(file.height * OVERVIEW_WIDTH / file.width))
            pictures.append(file.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (OVERVIEW_WIDTH, sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    if pictures:
        sheet.save(folder / OVERVIEW)
