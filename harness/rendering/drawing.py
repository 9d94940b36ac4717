"""A small SVG writer: the same calls always give the same bytes, unlike successive versions of a plotting library."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from html import escape
from math import ceil, floor, log10
from typing import Literal

from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import make_visible

Anchor = Literal["start", "middle", "end"]
ImageFormat = Literal["pdf", "png"]
# Name, colour on white, colour on GitHub's dark page. A test simulates readers who lack one kind of
# cone: they can tell ink, muted, better and worse apart.
_COLOURS = (
    ("ink", "#1f2328", "#e6edf3"),
    ("muted", "#59636e", "#9198a1"),
    ("grid", "#d8dee4", "#2f353d"),
    ("paper", "#ffffff", "#0d1117"),
    ("band", "#eaeef2", "#1c2128"),
    ("better", "#0969da", "#58a6ff"),
    ("worse", "#bc4c00", "#f0883e"),
)
# Styles that a colour may be combined with: "muted small".
_TEXT_STYLES = (
    ("strong", "font-weight:600"),
    ("small", "font-size:11px"),
    ("large", "font-size:15px"),
    ("mono", "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"),
    ("thick", "stroke-width:2"),
    ("thin", "stroke-width:1"),
)
_CLASSES = frozenset(name for name, *_ in (*_COLOURS, *_TEXT_STYLES))
_FONT = "font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,'DejaVu Sans',sans-serif"
_TICK_TOLERANCE = 1e-9  # keeps a tick at the end of the range despite rounding
_FIRST_WIDE_CHARACTER = 0x1100  # from here on most scripts are drawn two columns wide


class Canvas:
    """An SVG drawing, in CSS pixels from the upper left corner; colours follow the reader's light or dark page.

    A `css_class` is one colour (ink, muted, grid, paper, band, better, worse) and any styles (strong, small, large,
    mono, thick, thin), separated by spaces; others raise a ValueError.
    """

    def __init__(self, width: float, height: float, title: str, description: str) -> None:
        """Start an empty drawing; a screen reader reads out the title and the description."""
        self._size = _format_number(width), _format_number(height)
        self._words = _escape_text(title), _escape_text(description)
        self._drawn: list[str] = []
        self.rect(0, 0, width, height, "paper")

    def line(self, x1: float, y1: float, x2: float, y2: float, css_class: str) -> None:
        """Draw a straight line."""
        ends = _format_attributes(x1=x1, y1=y1, x2=x2, y2=y2)
        self._drawn.append(f"<line{_format_class(css_class)}{ends}/>")

    def rect(self, x: float, y: float, width: float, height: float, css_class: str) -> None:
        """Draw a filled rectangle from its upper left corner; a negative size counts as 0."""
        sides = _format_attributes(x=x, y=y, width=max(0.0, width), height=max(0.0, height))
        self._drawn.append(f"<rect{_format_class(css_class)}{sides}/>")

    def circle(self, x: float, y: float, radius: float, css_class: str) -> None:
        """Draw a filled circle."""
        self._drawn.append(f"<circle{_format_class(css_class)}{_format_attributes(cx=x, cy=y, r=radius)}/>")

    def polyline(self, points: Iterable[tuple[float, float]], css_class: str) -> None:
        """Draw straight lines from point to point."""
        pairs = " ".join(f"{_format_number(x)},{_format_number(y)}" for x, y in points)
        self._drawn.append(f'<polyline{_format_class(css_class)} points="{pairs}"/>')

    def text(self, x: float, y: float, words: str, css_class: str, anchor: Anchor = "start") -> None:
        """Write one line of text, escaped; (x, y) is the start, middle or end of its baseline."""
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._drawn.append(
            f"<text{_format_class(css_class)}{_format_attributes(x=x, y=y)}{where}>{_escape_text(words)}</text>"
        )

    def render(self) -> str:
        """Return the whole SVG file."""
        width, height = self._size
        title, description = self._words
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="title desc">'
        )
        labels = [f'<title id="title">{title}</title>', f'<desc id="desc">{description}</desc>']
        return "\n".join([head, *labels, _render_style(), *self._drawn, "</svg>", ""])


def load_converter(image_format: ImageFormat) -> Callable[[str], bytes]:
    """Load CairoSVG and return a function that converts a drawing's SVG, in the colours of a light page.

    Raises:
        BenchError: the Cairo library is not installed.
    """
    try:
        import cairosvg
    except OSError as error:
        raise BenchError("CairoSVG needs the Cairo library", "apt install libcairo2, or brew install cairo") from error
    convert = cairosvg.svg2pdf if image_format == "pdf" else partial(cairosvg.svg2png, scale=2)
    # Cairo looks for the first font of a list only, and ui-monospace is a name that only browsers know.
    return lambda svg: convert(svg.replace("font-family:ui-monospace", "font-family:monospace").encode())


def truncate_text(words: str, columns: int) -> str:
    """Return the text cut to `columns` of a monospaced font, with an ellipsis at the end where it is longer."""
    shown = make_visible(words)
    if sum(map(_count_columns, shown)) <= columns:
        return shown
    characters, left = [], columns - 1
    for character in shown:
        left -= _count_columns(character)
        if left < 0:
            break
        characters.append(character)
    return "".join(characters) + "…"


def choose_ticks(low: float, high: float, most: int = 6) -> Sequence[float]:
    """Return at most `most` round numbers from `low` to `high`; their step is 1, 2 or 5 times a power of ten.

    Raises:
        ValueError: the range is empty, or `most` is below two.
    """
    if not low < high or most < 2:
        raise ValueError(f"no {most} ticks from {low} to {high}")
    power = floor(log10((high - low) / most))
    for step in (part * 10.0 ** (power + place) for place in range(3) for part in (1, 2, 5)):
        first, last = ceil(low / step - _TICK_TOLERANCE), floor(high / step + _TICK_TOLERANCE)
        if last - first < most:
            return tuple(round(step * number, 9) for number in range(first, last + 1))
    raise AssertionError("a step of a hundred times the range has one tick")


def _count_columns(character: str) -> int:
    return 2 if ord(character) >= _FIRST_WIDE_CHARACTER and not 0x2000 <= ord(character) < 0x2E80 else 1


def _format_number(value: float) -> str:
    """Format with one decimal and no minus before a zero, so that the last bit of a float does not show."""
    number_text = f"{value:.1f}"
    return "0" if number_text in ("0.0", "-0.0") else number_text.removesuffix(".0")


def _format_attributes(**values: float) -> str:
    return "".join(f' {name}="{_format_number(value)}"' for name, value in values.items())


def _format_class(names: str) -> str:
    if unknown := [name for name in names.split() if name not in _CLASSES]:
        raise ValueError(f"no class {unknown[0]!r}; there are {', '.join(sorted(_CLASSES))}")
    return f' class="{names}"'


def _escape_text(words: str) -> str:
    return escape(make_visible(words))


def _render_style() -> str:
    """Render the style with `color` and `currentColor`, which more programs support than CSS variables."""
    light = "".join(f".{name}{{color:{colour}}}" for name, colour, _ in _COLOURS)
    dark = "".join(f".{name}{{color:{colour}}}" for name, _, colour in _COLOURS)
    manners = "".join(f".{name}{{{rule}}}" for name, rule in _TEXT_STYLES)
    shapes = (
        f"text{{fill:currentColor;font-size:12px;{_FONT}}}rect,circle,polygon{{fill:currentColor}}"
        "line,polyline{stroke:currentColor;fill:none;stroke-width:1.5;stroke-linejoin:round}line.grid{stroke-width:1}"
    )
    return f"<style>{shapes}{light}{manners}@media (prefers-color-scheme:dark){{{dark}}}</style>"
