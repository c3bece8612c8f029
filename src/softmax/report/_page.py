"""The page around the parts: head, contents, style. No script, no link to the outside, no time of day."""

from __future__ import annotations

from collections.abc import Callable

from . import _sections
from ._content import Content
from ._html import Html, escape, joined, shorten, tag

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--page:#fff;--soft:#f4f6f8;--line:#d5dae0;--faint:#8b949e;--right:#2563b5;
--wrong:#c2570c;--on-colour:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ee;--page:#14171b;--soft:#1e2329;--line:#363d46;--faint:#7d8794;
--right:#6ea8f0;--wrong:#f0935a;--on-colour:#fff}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem 1rem 3rem;max-width:46rem;background:var(--page);color:var(--ink);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.2rem;margin:2.2rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--line)}
p{margin:.5rem 0}a{color:var(--right)}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;margin:.6rem 0;padding:0;font-size:.9rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.6rem;margin:1rem 0}
.tile{background:var(--soft);border-radius:.5rem;padding:.6rem .8rem}
.tile dt{font-size:.85rem}.tile dd{margin:0}.tile b{display:block;font-size:1.35rem;line-height:1.3}
.tile small{opacity:.8}
.scroll{overflow-x:auto;margin:.8rem 0}.scroll:focus-visible{outline:2px solid var(--right)}
table{border-collapse:collapse;min-width:11rem;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.2rem 0;caption-side:top}
th,td{padding:.2rem .5rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--line);overflow-wrap:normal}
th{font-weight:400}
thead th{font-weight:600;border-bottom:2px solid var(--line);vertical-align:bottom;overflow-wrap:normal!important}
.word{text-align:left;overflow-wrap:anywhere;min-width:4.5rem}th:first-child,td:first-child{padding-left:0}
td{white-space:nowrap}td.word,.facts td{white-space:normal}.whole{white-space:nowrap}
.facts td{text-align:left;overflow-wrap:anywhere}.matrix{font-size:.8rem}.matrix th,.matrix td{padding:.15rem .3rem}
figure{margin:1rem 0}figcaption{font-size:.85rem;opacity:.85}
svg{display:block;width:100%;max-width:36rem;height:auto;color:var(--ink)}
svg *{stroke-linejoin:round;stroke-linecap:butt}svg image{image-rendering:pixelated}
svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
.beside{display:flex;flex-wrap:wrap;gap:0 2.5rem;align-items:flex-start}.beside>*{max-width:100%}
details{margin:.8rem 0}summary{cursor:pointer}
.mark{background:var(--soft);border-radius:.3rem;padding:0 .3rem;font-size:.85em}
.warning{border-left:.3rem solid var(--wrong);background:var(--soft);padding:.3rem .8rem;margin:.8rem 0}
pre{background:var(--soft);padding:.6rem;border-radius:.4rem;white-space:pre-wrap}
footer{font-size:.85rem;opacity:.8;margin-top:2rem}
@media (max-width:30rem){body{padding:.6rem .7rem 2rem}table{font-size:.82rem}th,td{padding:.2rem .25rem}
.word{min-width:2.5rem}.coefficients th:nth-child(4),.coefficients td:nth-child(4){display:none}}
@page{size:A4;margin:16mm}
@media print{:root{color-scheme:light;--ink:#000;--page:#fff;--soft:#f2f2f2;--line:#bbb;--faint:#777;--right:#2563b5;
--wrong:#c2570c}
body{max-width:none;padding:0;font-size:10pt;print-color-adjust:exact;-webkit-print-color-adjust:exact}
nav{display:none}h2{break-after:avoid}figure,.tiles,.warning,tr{break-inside:avoid}svg{max-width:120mm}
.scroll{overflow:visible}thead{display:table-header-group}
details::details-content{display:block;content-visibility:visible;height:auto}summary{list-style:none}}
"""

PARTS: tuple[tuple[str, str, Callable[[Content], Html]], ...] = (
    ("data", "Data", _sections.data),
    ("certificate", "Certificate", _sections.certificate),
    ("separation", "Separation", _sections.separation),
    ("scores", "Scores", _sections.scores),
    ("confusion", "Confusion", _sections.confusion),
    ("classes", "Classes", _sections.classes),
    ("calibration", "Calibration", _sections.calibration),
    ("coefficients", "Coefficients", _sections.coefficients),
    ("path", "Choice of C", _sections.path),
    ("notes", "Warnings and notes", _sections.notes),
    ("origin", "How it was made", _sections.origin),
)


def page(content: Content) -> str:
    """The whole file."""
    parts = [(key, title, make(content)) for key, title, make in PARTS]
    parts = [part for part in parts if part[2].text]
    links = tag("ul", *(tag("li", tag("a", title, href=f"#{key}")) for key, title, _ in parts))
    sections = [tag("section", tag("h2", title), body, id=key, aria_label=title) for key, title, body in parts]
    title = shorten(content.title, 120)
    head = joined(
        [
            Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html(
                '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
                "style-src 'unsafe-inline'\">"
            ),
            Html('<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'),
            tag("title", title),
            Html(f"<style>{STYLE}</style>"),
        ]
    )
    body = joined(
        [
            tag("header", tag("h1", title), _sections.glance(content)),
            tag("nav", links, aria_label="Parts of this report"),
            tag("main", *sections),
            tag("footer", escape(f"Made by softmax {content.versions.get('softmax', '')}.")),
        ]
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'
