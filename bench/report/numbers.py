"""Formats figures for readers.

With three significant digits, and never more than were measured.
"""


def text(figure):
    """Returns a median with its spread: `12 300 (11 900–12 800)`."""
    if figure is None:
        return "–"
    unit = "×" if figure.unit == "×" else ""
    middle, low, high = (number(value) for value in (figure.value, figure.low, figure.high))
    return middle + unit if low == high else f"{middle}{unit} ({low}–{high})"


def percent(share):
    """Returns a share each way: `±4.2 %`, a dash for None."""
    return "–" if share is None else f"±{100 * share:.1f} %" if share < 0.1 else f"±{100 * share:.0f} %"


def number(value):
    size = abs(value)
    if size >= 100:
        digits = len(str(int(size)))
        # A narrow space that does not break groups thousands.
        return f"{round(value, 3 - digits):,.0f}".replace(",", "\u202f")
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"
