"""What a terminal of 96 columns shows of a text with SGR colours, as SVG: svg.py FROM TO."""
import html
import re
import sys

COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341"}
WIDTH, LINE, COLUMN, EDGE = 96, 18, 7.8, 14

with open(sys.argv[1], encoding="utf-8") as file:
    lines = file.read().rstrip("\n").split("\n")
if any(len(re.sub(r"\x1b\[\d+m", "", line)) > WIDTH for line in lines):
    sys.exit(f"{sys.argv[1]}: a line is longer than {WIDTH} columns")
rows, style = [], ""
for number, line in enumerate(lines):
    spans = []
    for part in re.split(r"(\x1b\[\d+m)", line):
        code = re.fullmatch(r"\x1b\[(\d+)m", part)
        if code:
            bold, dim = code[1] == "1", code[1] == "2"
            style = f' fill="{COLOURS[code[1]]}"' if code[1] in COLOURS else ' font-weight="bold"' * bold + ' fill="#8b949e"' * dim
        elif part:
            spans.append(f"<tspan{style}>{html.escape(part, quote=False)}</tspan>")
    y = EDGE + LINE * (number + 1) - 5
    rows.append(f'<text x="{EDGE}" y="{y}" xml:space="preserve">{"".join(spans)}</text>')
width, height = round(2 * EDGE + WIDTH * COLUMN), 2 * EDGE + LINE * len(lines)
with open(sys.argv[2], "w", encoding="utf-8") as file:
    file.write(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="monospace" font-size="13" fill="#e6edf3">\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>\n' + "\n".join(rows) + "\n</svg>\n"
    )
