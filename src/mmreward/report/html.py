"""report.md -> report.html: one file with its figures inside, to be sent to somebody."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt

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


def write_html(report: Path) -> Path:
    """Writes report.html beside report.md and returns its path.

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
