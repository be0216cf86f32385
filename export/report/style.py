"""The style sheet of the page: light, dark and paper."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --ink: #1a1f29; --soft: #5a6475; --line: #dfe3ea; --track: #e9ecf2;
  --int8: #2f6fe4; --int4: #8b4fd8; --mixed: #12939a; --fp16: #8e99ab; --fp32: #566173;
  --good: #16794a; --good-back: #e5f5ec; --warn: #9a5b00; --warn-back: #fdf1dc; --bad: #b42326; --bad-back: #fce8e8;
  --raised: #e08600;
}
@media (prefers-color-scheme: dark) { :root {
  --page: #12151b; --card: #1b2029; --ink: #e6e9ef; --soft: #9ba6b8; --line: #303846; --track: #2a313d;
  --int8: #6b9dff; --int4: #b68af2; --mixed: #45c2c6; --fp16: #77839a; --fp32: #a3aec0;
  --good: #63d29b; --good-back: #14301f; --warn: #f2b45a; --warn-back: #362711; --bad: #ff8a8a; --bad-back: #3a191b;
  --raised: #ffb13d;
} }
@media print { :root {
  color-scheme: light;
  --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #ccc; --track: #eee;
  --int8: #2f6fe4; --int4: #8b4fd8; --mixed: #12939a; --fp16: #8e99ab; --fp32: #566173;
  --good: #16794a; --good-back: #e5f5ec; --warn: #9a5b00; --warn-back: #fdf1dc; --bad: #b42326; --bad-back: #fce8e8;
  --raised: #e08600;
} }
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
main { max-width: 1040px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 2px; text-wrap: balance; }
h2 { font-size: 18px; margin: 0 0 4px; }
h3 { font-size: 14px; margin: 18px 0 4px; }
p { margin: 4px 0 10px; max-width: 76ch; }
.lead, .note, caption { color: var(--soft); }
.lead { margin-bottom: 18px; overflow-wrap: anywhere; }
section, .verdict {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 20px; margin: 0 0 16px;
}
.verdict { border-left: 6px solid var(--state); background: var(--state-back); }
.verdict h2 { color: var(--state); font-size: 20px; }
.verdict.passed { --state: var(--good); --state-back: var(--good-back); }
.verdict.degraded { --state: var(--warn); --state-back: var(--warn-back); }
.verdict.failed { --state: var(--bad); --state-back: var(--bad-back); }
.verdict.open { --state: var(--soft); --state-back: var(--card); }
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
td.below { color: var(--bad); font-weight: 650; }
code, .name { overflow-wrap: anywhere; unicode-bidi: isolate; }
code { font: 13px/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.chip {
  display: inline-block; padding: 0 7px; border-radius: 9px; font-size: 12px; line-height: 18px; white-space: nowrap;
  border: 1px solid currentColor;
}
.chip.int8 { color: var(--int8); } .chip.int4 { color: var(--int4); } .chip.mixed { color: var(--mixed); }
.chip.fp16, .chip.fp32 { color: var(--soft); } .chip.up { color: var(--warn); margin-left: 4px; }
.legend {
  display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 0; margin: 8px 0; list-style: none; font-size: 13px;
  color: var(--soft);
}
.legend svg { vertical-align: -1px; margin-right: 5px; }
details { margin-top: 10px; }
summary { cursor: pointer; font-weight: 600; }
summary:focus-visible { outline: 2px solid var(--int8); outline-offset: 3px; border-radius: 4px; }
figure { margin: 14px 0 0; }
figure img { display: block; max-width: 100%; height: auto; border-radius: 6px; }
figcaption { margin: 5px 0 0; font-size: 14px; overflow-wrap: anywhere; }
figcaption b { font-variant-numeric: tabular-nums; }
ul { margin: 6px 0; padding-left: 20px; }
li { overflow-wrap: anywhere; }
svg text { fill: var(--ink); font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
svg .faint { fill: var(--soft); } svg .strong { font-weight: 650; }
svg .axis { stroke: var(--soft); } svg .grid { stroke: var(--line); }
svg .bound { stroke: var(--ink); stroke-width: 2; }
svg .track { fill: var(--track); } svg .absent { fill: none; stroke: var(--soft); } svg .raised { fill: var(--raised); }
svg .int8 { fill: var(--int8); } svg .int4 { fill: var(--int4); } svg .mixed { fill: var(--mixed); }
svg .fp16 { fill: var(--fp16); } svg .fp32 { fill: var(--fp32); }
svg .dot.passed, svg .error.passed { fill: var(--good); } svg .dot.degraded, svg .error.degraded { fill: var(--warn); }
svg .dot.failed, svg .error.failed { fill: var(--bad); } svg .error { opacity: .35; }
svg .only-fp32 { fill: rgb(255 122 58); } svg .only-reduced { fill: rgb(52 130 246); }
svg .mask { fill: rgb(226 74 141); }
svg.scale { display: block; width: 100%; max-width: 560px; height: auto; margin-top: 8px; }
svg.blocks { display: block; max-width: 100%; height: auto; overflow: visible; }
svg.blocks.wide { min-width: 560px; }
svg.bar { display: block; min-width: 60px; }
footer { color: var(--soft); font-size: 13px; }
@media print {
  @page { margin: 14mm; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  section, .verdict, .tiles div { border-radius: 0; } section { border-width: 1px 0 0; padding: 12px 0; }
  figure, .verdict, svg, tr, h2, h3 { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; } td.wide { width: 16%; min-width: 70px; } svg.blocks.wide { min-width: 0; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
