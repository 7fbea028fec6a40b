"""Bar charts as SVG: the median of a case's main metric, with a line from the lowest to the highest round."""

from xml.sax.saxutils import escape

from .case import Case

WIDTH, LEFT, RIGHT, ROW, TOP = 720, 150, 110, 34, 56
OWN, PEER, GREY = "#0b6e99", "#b9c4cc", "#5b6770"


def bars(case: Case, results: dict) -> str:
    rows = [(name, values.get(case.main), values.get("error")) for name, values in results.items()]
    height = TOP + ROW * len(rows) + 16
    most = max([stats["high"] for _, stats, _ in rows if stats] or [1]) or 1
    better = "less is better" if case.lower_is_better else "more is better"
    out = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
           f'font-size="13" role="img">\n<title>{escape(case.title)}</title>\n'
           f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
           f'<text x="12" y="22" font-size="15" font-weight="bold" fill="#222">{escape(case.title)}</text>\n'
           f'<text x="12" y="41" fill="{GREY}">{escape(case.main)}, {better}</text>\n')
    scale = (WIDTH - LEFT - RIGHT) / most
    for i, (name, stats, error) in enumerate(rows):
        y = TOP + ROW * i
        out += f'<text x="{LEFT - 8}" y="{y + 18}" text-anchor="end" fill="#222">{escape(name)}</text>\n'
        if not stats:
            out += f'<text x="{LEFT}" y="{y + 18}" fill="{GREY}">{escape((error or "no figure")[:60])}</text>\n'
            continue
        length, low, high = (stats[k] * scale for k in ("median", "low", "high"))
        colour = OWN if name == "millrace" else PEER
        out += (f'<rect x="{LEFT}" y="{y + 4}" width="{length:.1f}" height="20" fill="{colour}"/>\n'
                f'<line x1="{LEFT + low:.1f}" x2="{LEFT + high:.1f}" y1="{y + 14}" y2="{y + 14}" stroke="#222"/>\n'
                f'<text x="{LEFT + max(length, high) + 8:.1f}" y="{y + 18}" fill="#222">{stats["median"]:.4g}</text>\n')
    return out + "</svg>\n"
