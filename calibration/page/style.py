"""The style sheets: colours of light, dark and paper, the page, and charts."""

from __future__ import annotations

import re
from collections.abc import Mapping

Colours = Mapping[str, str]
"""Name of a colour -> what CSS knows it by."""

SERIES = 8
"""Colours that tell series apart: the classes ``s0`` to ``s7``."""

LIGHT: Colours = {
    "page": "#f6f7f9", "card": "#fff", "ink": "#1a1f29", "soft": "#5a6475", "line": "#dfe3ea", "track": "#e9ecf2",
    "good": "#16794a", "good-back": "#e5f5ec", "warn": "#9a5b00", "warn-back": "#fdf1dc",
    "bad": "#b42326", "bad-back": "#fce8e8", "mark": "#e08600",
    "s0": "#2f6fe4", "s1": "#c8323b", "s2": "#2e8b57", "s3": "#c97b00", "s4": "#8b4fd8", "s5": "#12939a",
    "s6": "#c2478f", "s7": "#566173",
}  # fmt: skip
DARK: Colours = {
    "page": "#12151b", "card": "#1b2029", "ink": "#e6e9ef", "soft": "#9ba6b8", "line": "#303846", "track": "#2a313d",
    "good": "#63d29b", "good-back": "#14301f", "warn": "#f2b45a", "warn-back": "#362711",
    "bad": "#ff8a8a", "bad-back": "#3a191b", "mark": "#ffb13d",
    "s0": "#6b9dff", "s1": "#ff8a8a", "s2": "#6fd08f", "s3": "#f0b04a", "s4": "#b68af2", "s5": "#45c2c6",
    "s6": "#f08bc0", "s7": "#a3aec0",
}  # fmt: skip
_PAPER = {"page": "#fff", "ink": "#000", "soft": "#444", "line": "#ccc", "track": "#eee"}

_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif'


def variables(light: Colours, dark: Colours, paper: Colours | None = None) -> str:
    """Colours as variables of a page that follows the reader's choice of light or dark; on paper it is light."""
    return (
        f":root {{ {_declared(light)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {_declared(dark)} }} }}\n"
        f"@media print {{ :root {{ {_declared({**light, **(paper or {})})} }} }}\n"
    )


def _declared(colours: Colours) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def _series() -> str:
    return " ".join(
        f"svg .s{number}.line {{ stroke: var(--s{number}); }} svg .s{number}:not(.line) {{ fill: var(--s{number}); }}"
        for number in range(SERIES)
    )


CHART = f"""
svg text {{ fill: var(--ink); font: 12px {_FONT}; }}
svg .faint {{ fill: var(--soft); }} svg .strong {{ font-weight: 650; }}
svg .axis {{ stroke: var(--soft); }} svg .grid {{ stroke: var(--line); }}
svg .bound {{ stroke: var(--ink); stroke-width: 2; }}
svg .line {{ fill: none; stroke-width: 1.6; stroke-linejoin: round; }} svg .dashed {{ stroke-dasharray: 5 3; }}
svg .track {{ fill: var(--track); }} svg .absent {{ fill: none; stroke: var(--soft); }}
svg .mark {{ fill: var(--mark); }} svg .pale {{ opacity: .4; }}
{_series()}
"""

_FILE = "svg .ground { fill: var(--card); }"


def file_style() -> str:
    """The style of a picture that stands alone: without variables, which not every program that draws SVG knows."""
    css = CHART + _FILE
    return f"{_literal(css, LIGHT)}\n@media (prefers-color-scheme: dark) {{ {_literal(css, DARK)} }}"


def _literal(css: str, colours: Colours) -> str:
    return re.sub(r"var\(--([\w-]+)\)", lambda match: colours[match[1]], css)


_PAGE = f"""
:root {{ color-scheme: light dark; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 {_FONT}; }}
"""

CSS = (
    variables(LIGHT, DARK, _PAPER)
    + _PAGE
    + CHART
    + """
main { max-width: 1040px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 2px; text-wrap: balance; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 4px; }
h3 { font-size: 14px; margin: 18px 0 4px; }
p { margin: 4px 0 10px; max-width: 76ch; }
.lead, .note, caption { color: var(--soft); }
.lead { margin-bottom: 18px; overflow-wrap: anywhere; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 20px; margin: 0 0 16px;
}
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0 0 16px; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 16px; }
.tiles dt { color: var(--soft); font-size: 13px; }
.tiles dd { margin: 0; font-size: 22px; font-weight: 650; font-variant-numeric: tabular-nums; line-height: 1.3; }
.tiles dd small { display: block; color: var(--soft); font-size: 13px; font-weight: 400; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; margin-top: 6px; }
th, td { text-align: left; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); vertical-align: baseline; }
tr > :last-child { padding-right: 0; }
tbody tr:last-child > * { border-bottom: 0; }
tfoot > tr > * { border-top: 2px solid var(--line); border-bottom: 0; font-weight: 650; }
thead th { color: var(--soft); font-weight: 500; font-size: 13px; white-space: nowrap; }
tbody th { font-weight: 500; }
th:has(code), td:has(code) { min-width: 200px; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.wide { width: 28%; min-width: 110px; }
dl.facts { display: grid; grid-template-columns: minmax(7em, max-content) 1fr; gap: 3px 16px; margin: 6px 0; }
dl.facts dt { color: var(--soft); } dl.facts dd { margin: 0; overflow-wrap: anywhere; }
code, .name { overflow-wrap: anywhere; unicode-bidi: isolate; }
code, pre { font: 13px/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { overflow-x: auto; }
.chip {
  display: inline-block; padding: 0 7px; border-radius: 9px; font-size: 12px; line-height: 18px; white-space: nowrap;
  border: 1px solid currentColor;
}
.legend {
  display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 0; margin: 8px 0; list-style: none; font-size: 13px;
  color: var(--soft);
}
.legend svg { vertical-align: -1px; margin-right: 5px; }
details { margin-top: 10px; }
summary { cursor: pointer; font-weight: 600; }
summary:focus-visible { outline: 2px solid var(--s0); outline-offset: 3px; border-radius: 4px; }
figure { margin: 14px 0 0; }
figure img { display: block; max-width: 100%; height: auto; border-radius: 6px; }
figcaption { margin: 5px 0 0; font-size: 14px; overflow-wrap: anywhere; }
figcaption b { font-variant-numeric: tabular-nums; }
ul { margin: 6px 0; padding-left: 20px; }
li { overflow-wrap: anywhere; }
svg.chart { display: block; max-width: 100%; height: auto; overflow: visible; }
svg.chart.wide { min-width: 560px; }
svg.rows { display: block; margin: 8px 0 4px; overflow: visible; }
svg.rows .heading { paint-order: stroke; stroke: var(--card); stroke-width: 4px; }
svg.cell { display: block; min-width: 60px; }
footer { color: var(--soft); font-size: 13px; }
@media (max-width: 600px) {
  main { padding: 18px 10px 40px; } section { padding: 14px; } h1 { font-size: 22px; }
  dl.facts { grid-template-columns: 1fr; gap: 0; } dl.facts dd { margin: 0 0 6px; }
}
@media print {
  @page { margin: 14mm; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  section, .tiles div { border-radius: 0; } section { border-width: 1px 0 0; padding: 12px 0; }
  figure, svg, tr, h2, h3 { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; } td.wide { width: 16%; min-width: 70px; } svg.chart.wide { min-width: 0; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
)
