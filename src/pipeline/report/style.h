// The look of report.html: light and dark, on screen and on paper, no outside fonts or files.
#pragma once

#include <string_view>

namespace frugal {

inline constexpr std::string_view kReportStyle = R"css(
:root { color-scheme: light dark;
  --paper: #fbfbf9; --card: #ffffff; --ink: #1d2126; --soft: #68707a; --rule: #e3e4df; --grid: #ecece7;
  --c0: #2f6fb2; --c1: #d35f27; --c2: #2a9467; --c3: #8a5cc2; --c4: #a97c0c; --c5: #c2457a;
  --h0: #2f6fb2; --h1: #6f9fcb; --h2: #a9c6e0; --h3: #d3e2ee; --h4: #efeee8; --h5: #f7dcc5; --h6: #efb48a;
  --h7: #e08550; --h8: #c4501c; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171a; --card: #1a1e22; --ink: #e4e7ea; --soft: #98a1ab; --rule: #2c3238; --grid: #262b31;
  --c0: #6ba8e5; --c1: #f08a54; --c2: #55c296; --c3: #b491e6; --c4: #d6ad45; --c5: #e57ba6;
  --h0: #5d9fe0; --h1: #4479ab; --h2: #355a7d; --h3: #2d4153; --h4: #2a2f34; --h5: #493a31; --h6: #744c34;
  --h7: #a96438; --h8: #ea8646; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 28px 56px; }
header p.mark { margin: 0; font-size: 12.5px; letter-spacing: .14em; text-transform: uppercase; color: var(--soft); }
h1 { margin: 2px 0 4px; font-size: 32px; line-height: 1.2; font-weight: 650; letter-spacing: -.01em; }
h2 { margin: 44px 0 14px; padding-top: 14px; border-top: 1px solid var(--rule); font-size: 19px; font-weight: 650; }
h3 { margin: 22px 0 8px; font-size: 15px; font-weight: 650; }
p { max-width: 74ch; } p.lead { margin: 0; color: var(--soft); max-width: none; } p.note, td.note { color: var(--soft); font-size: 13.5px; }
a { color: var(--c0); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; margin: 26px 0 0; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 13px 15px 12px; }
.card b { display: block; font-size: 19.5px; line-height: 1.25; font-weight: 650; letter-spacing: -.01em;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.card span { display: block; color: var(--soft); font-size: 12.5px; line-height: 1.4; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 16px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 12px 14px 8px; }
figcaption { font-size: 13.5px; font-weight: 600; margin-bottom: 6px; display: flex; flex-wrap: wrap; gap: 2px 14px;
  justify-content: space-between; }
.legend { font-weight: 400; color: var(--soft); }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin: 0 5px 0 9px; }
svg { display: block; width: 100%; height: auto; font: inherit; }
.grid { stroke: var(--grid); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; opacity: .55; }
.tick { fill: var(--soft); font-size: 11px; font-variant-numeric: tabular-nums; }
.tick.y { text-anchor: end; } .tick.x { text-anchor: middle; }
.end { font-size: 11.5px; font-weight: 650; font-variant-numeric: tabular-nums; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; } .band { opacity: .17; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); }
.line.c3 { stroke: var(--c3); } .line.c4 { stroke: var(--c4); } .line.c5 { stroke: var(--c5); }
.band.c0, .mark.c0, .t0 { fill: var(--c0); } .band.c1, .mark.c1, .t1 { fill: var(--c1); }
.band.c2, .mark.c2, .t2 { fill: var(--c2); } .band.c3, .mark.c3, .t3 { fill: var(--c3); }
.band.c4, .mark.c4, .t4 { fill: var(--c4); } .band.c5, .mark.c5, .t5 { fill: var(--c5); }
.k0 { background: var(--c0); } .k1 { background: var(--c1); } .k2 { background: var(--c2); }
.k3 { background: var(--c3); } .k4 { background: var(--c4); } .k5 { background: var(--c5); }
.h0 { fill: var(--h0); } .h1 { fill: var(--h1); } .h2 { fill: var(--h2); } .h3 { fill: var(--h3); } .h4 { fill: var(--h4); }
.h5 { fill: var(--h5); } .h6 { fill: var(--h6); } .h7 { fill: var(--h7); } .h8 { fill: var(--h8); }
.scale { color: var(--soft); font-size: 12.5px; margin: 10px 2px 0; }
.scale svg { display: inline-block; width: 144px; height: 11px; vertical-align: -1px; margin: 0 8px; }
.charts.three { grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); }
.columns h3 { margin-top: 4px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(330px, 100%), 1fr)); gap: 8px 40px; align-items: start; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 6px 12px 6px 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
thead th { color: var(--soft); font-weight: 500; font-size: 12.5px; white-space: nowrap; }
tbody th { font-weight: 500; white-space: nowrap; }
.figures td, .figures thead th:not(:first-child) { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.figures td:last-child, .figures th:last-child { padding-right: 0; }
tr.total th, tr.total td { border-top: 1.5px solid var(--soft); border-bottom: 0; font-weight: 650; }
.bar { display: flex; height: 12px; border-radius: 6px; overflow: hidden; margin: 4px 0 10px; background: var(--grid); }
.bar i { display: block; }
.meter { background: var(--grid); border-radius: 5px; height: 9px; overflow: hidden; min-width: 90px; }
.meter i { display: block; height: 9px; background: var(--c2); }
.score { display: grid; grid-template-columns: max-content minmax(90px, 1fr) max-content; gap: 7px 14px; align-items: center;
  font-size: 14px; font-variant-numeric: tabular-nums; }
blockquote { margin: 0; background: var(--card); border: 1px solid var(--rule); border-left: 3px solid var(--c0);
  border-radius: 8px; padding: 10px 14px; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 14.5px; }
blockquote b { font-weight: 650; } blockquote span { color: var(--soft); }
details { margin-top: 14px; } summary { cursor: pointer; color: var(--soft); }
pre { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 12px 14px; overflow-x: auto; font-size: 12.5px; line-height: 1.5; }
footer { margin-top: 40px; color: var(--soft); font-size: 12.5px; }
@media print { :root { --paper: #fff; --card: #fff; } body { font-size: 11pt; } main { padding: 0; max-width: none; }
  figure, .card, blockquote, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .bar, .meter, .meter i, .bar i, .key, svg * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
)css";

}  // namespace frugal
