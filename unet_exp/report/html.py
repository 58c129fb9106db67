"""Parts of a page: escaped text, tables, pictures; one file without scripts and without links to other
files."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

MOST_BYTES = 4_500_000  # of all pictures of a page
LARGEST_PNG = 500_000  # bytes; a larger one becomes a JPEG
WIDEST = 1600  # pixels
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0; }
main { max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid #767676; }
p, li, figcaption { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.5rem 0; }
caption { text-align: left; color: #444; padding-bottom: 0.25rem; }
th, td { text-align: left; vertical-align: top; padding: 0.2rem 0.9rem 0.2rem 0; }
th, td { border-bottom: 1px solid #d0d0d0; }
th[scope=row] { white-space: nowrap; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1rem 0; overflow-x: auto; }
figure img { max-width: 100%; height: auto; }
figure svg { width: 100%; min-width: 34rem; max-width: 60rem; height: auto; }
figcaption { color: #444; font-size: 0.9rem; }
code { font: 0.9em ui-monospace, monospace; background: #f2f2f2; padding: 0.1em 0.25em; }
code { overflow-wrap: anywhere; }
.lead { font-size: 1.1rem; }
"""


def text(value: object) -> str:
    return html.escape(str(value))


def code(value: object) -> str:
    return f"<code>{text(value)}</code>"


def paragraph(content: str, kind: str = "") -> str:
    """content: HTML."""
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{content}</p>"


def section(title: str, *contents: str) -> str:
    """A title and what is below it; nothing where nothing is."""
    inner = "\n".join(content for content in contents if content)
    return f"<section>\n<h2>{text(title)}</h2>\n{inner}\n</section>" if inner else ""


def table(head: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """The first column names the row. Empty without rows."""
    if not rows:
        return ""
    titles = "".join(f'<th scope="col">{text(title)}</th>' for title in head)
    lines = []
    for row in rows:
        cells = "".join(f'<td class="number">{text(cell)}</td>' for cell in row[1:])
        lines.append(f'<tr><th scope="row">{text(row[0])}</th>{cells}</tr>')
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    body = "\n".join(lines)
    return (
        f'<div class="scroll"><table>{title}\n<thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def bullets(items: Sequence[str]) -> str:
    """items: HTML."""
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>" if items else ""


def drawing(svg: str, alt: str, caption: str = "") -> str:
    """An SVG, in the page itself."""
    start = svg.index("<svg")
    named = f'<svg role="img" aria-label="{html.escape(alt, quote=True)}"' + svg[start + 4 :]
    return f"<figure>{named}{figcaption(caption)}</figure>"


def picture(path: Path, alt: str, caption: str = "") -> str:
    """A PNG file, in the page itself; "" where it is absent. A large one is made smaller, as JPEG."""
    if not path.exists():
        return ""
    content, kind = path.read_bytes(), "png"
    if len(content) > LARGEST_PNG:
        with Image.open(path) as image:
            shown = image.convert("RGB")
        shown.thumbnail((WIDEST, 4 * WIDEST))
        file = io.BytesIO()
        shown.save(file, "JPEG", quality=85)
        content, kind = file.getvalue(), "jpeg"
    data = base64.b64encode(content).decode()
    words = html.escape(alt, quote=True)
    return f'<figure><img alt="{words}" src="data:image/{kind};base64,{data}">{figcaption(caption)}</figure>'


def figcaption(caption: str) -> str:
    return f"<figcaption>{text(caption)}</figcaption>" if caption else ""


def page(title: str, sections: Sequence[str]) -> str:
    """The whole file. Pictures beyond MOST_BYTES are left out, which the page says."""
    kept = []
    size = 0
    for content in sections:
        size += len(content)
        small = size <= MOST_BYTES
        kept.append(content if small else "<p>Pictures are left out here: the page would be too large.</p>")
        size -= 0 if small else len(content)
    body = "\n".join(part for part in kept if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{text(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )
