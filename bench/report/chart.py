"""Draws bars as SVG, for pages with a white or a black background.

Colours and grey are those of docs/picture.svg, which are readable on both.
"""

from html import escape

from report.numbers import number

WIDTH, LEFT, RIGHT, ROW, TOP = 760, 190, 150, 30, 62
# The least width of the longest bar: long labels make the picture wider.
LEAST_BAR = 300
# The width of a letter of a label, where it is wide.
LETTER = 8.4
OURS, OTHERS, OURS_LIGHT, OTHERS_LIGHT = "#2563eb", "#8b97a8", "#93b4f5", "#c3cad4"
STYLE = """  <style>
    text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 13px; fill: #7a7a7a; }
    .title { font-size: 16px; font-weight: 600; }
    .ours { font-weight: 600; fill: #2563eb; }
    .end { text-anchor: end; }
    .spread { stroke: #7a7a7a; stroke-width: 1.5; }
  </style>"""


class Bar:
    """Draws one row: pieces from left to right (each from, to, light or not), the spread of the whole, and the text behind it."""

    def __init__(self, label, ours, pieces, spread, said):
        self.label, self.ours, self.pieces, self.spread, self.said = label, ours, pieces, spread, said


def simple(label, ours, figure):
    return Bar(label, ours, [(0, figure.value, False)], (figure.low, figure.high), number(figure.value))


def chart(title, explained, bars):
    most = max([end for bar in bars for _, end, _ in bar.pieces] + [bar.spread[1] for bar in bars if bar.spread])
    left = max(LEFT, 20 + LETTER * max((len(bar.label) for bar in bars), default=0))
    width = max(WIDTH, round(left + LEAST_BAR + RIGHT))
    scale = (width - left - RIGHT) / (most or 1)
    height = TOP + ROW * len(bars) + 8
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title desc">',
             f'  <title id="title">{escape(title)}</title>', f'  <desc id="desc">{escape(described(bars))}</desc>', STYLE,
             f'  <text x="10" y="24" class="title">{escape(title)}</text>', f'  <text x="10" y="46">{escape(explained)}</text>']
    for number_of_row, bar in enumerate(bars):
        lines += _row(bar, TOP + ROW * number_of_row, (left, scale))
    return "\n".join([*lines, "</svg>", ""])


def described(bars):
    """Returns the text alternative of the picture."""
    return "; ".join(f"{bar.label}: {bar.said}" for bar in bars)


def _row(bar, top, across):
    left, scale = across
    middle, ours = top + ROW / 2, ' class="ours"' if bar.ours else ""
    name_class = "ours end" if bar.ours else "end"
    yield f'  <text x="{left - 10:.1f}" y="{middle + 4.5:.1f}" class="{name_class}">{escape(bar.label)}</text>'
    far = left
    for begin, end, light in bar.pieces:
        fill = (OURS_LIGHT if light else OURS) if bar.ours else (OTHERS_LIGHT if light else OTHERS)
        x, width = left + begin * scale, max(1.0, (end - begin) * scale)
        far = max(far, x + width)
        yield f'  <rect x="{x:.1f}" y="{top + 5}" width="{width:.1f}" height="{ROW - 10}" rx="3" fill="{fill}"/>'
    if bar.spread and bar.spread[0] < bar.spread[1]:
        low, high = (left + value * scale for value in bar.spread)
        far = max(far, high)
        ends = f"M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"
        yield f'  <path class="spread" fill="none" d="M{low:.1f} {middle}H{high:.1f}{ends}"/>'
    yield f'  <text x="{far + 8:.1f}" y="{middle + 4.5:.1f}"{ours}>{escape(bar.said)}</text>'
