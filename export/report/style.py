"""What the report adds to the style of a page: the colours of precisions and of verdicts."""

from xsam_edge.calibration.page.style import DARK, LIGHT, Colours, variables


def _precisions(colours: Colours, fp16: str) -> Colours:
    return {
        "int8": colours["s0"], "int4": colours["s4"], "fp8": colours["s2"], "mixed": colours["s5"], "fp16": fp16,
        "fp32": colours["s7"],
    }  # fmt: skip


CSS = (
    variables(_precisions(LIGHT, "#8e99ab"), _precisions(DARK, "#77839a"))
    + """
.verdict {
  background: var(--state-back); border: 1px solid var(--line); border-left: 6px solid var(--state);
  border-radius: 12px; padding: 18px 20px; margin: 0 0 16px;
}
.verdict h2 { color: var(--state); font-size: 20px; }
.verdict.passed { --state: var(--good); --state-back: var(--good-back); }
.verdict.degraded { --state: var(--warn); --state-back: var(--warn-back); }
.verdict.failed { --state: var(--bad); --state-back: var(--bad-back); }
.verdict.open { --state: var(--soft); --state-back: var(--card); }
.verdict svg { max-width: 560px; } .verdict svg .state { fill: var(--state); }
.chip.int8 { color: var(--int8); } .chip.int4 { color: var(--int4); } .chip.fp8 { color: var(--fp8); }
.chip.mixed { color: var(--mixed); }
.chip.fp16, .chip.fp32 { color: var(--soft); } .chip.up { color: var(--warn); margin-left: 4px; }
svg .int8 { fill: var(--int8); } svg .int4 { fill: var(--int4); } svg .fp8 { fill: var(--fp8); }
svg .mixed { fill: var(--mixed); }
svg .fp16 { fill: var(--fp16); } svg .fp32 { fill: var(--fp32); }
svg .only-fp32 { fill: rgb(255 122 58); } svg .only-reduced { fill: rgb(52 130 246); }
svg .mask { fill: rgb(226 74 141); }
@media print { .verdict { border-radius: 0; break-inside: avoid; } }
"""
)
