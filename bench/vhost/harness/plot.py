"""The ratios as a picture: a box of quartiles, whiskers to the extremes, A/A beside A/B, the limit over A where it ran,
and the number of pairs. Of rates, or of times. SVG, by hand."""

from __future__ import annotations

from html import escape

ROW = 34
LEFT = 300
WIDTH = 620
TOP = 56


def spreads(summary: dict) -> tuple[dict, dict, dict]:
    """B over A, A over itself, the limit over A."""
    return summary["ratio"], summary.get("ratio_a_a", {}), summary.get("limit", {}).get("over_a", {})


def scale(summaries: list[dict]) -> float:
    values = [spread.get("max", 0) for summary in summaries for spread in spreads(summary)]
    values += [summary.get("goal") or 0 for summary in summaries]
    return max([1.2, *values]) * 1.05


def box(spread: dict, y: float, colour: str, most: float) -> list[str]:
    if not spread:
        return []
    x = {name: LEFT + WIDTH * value / most for name, value in spread.items()}
    return [f'<line x1="{x["min"]:.1f}" x2="{x["max"]:.1f}" y1="{y}" y2="{y}" stroke="{colour}"/>',
            f'<rect x="{x["p25"]:.1f}" y="{y - 5}" width="{max(x["p75"] - x["p25"], 1):.1f}" height="10" '
            f'fill="{colour}" fill-opacity="0.45" stroke="{colour}"/>',
            f'<line x1="{x["median"]:.1f}" x2="{x["median"]:.1f}" y1="{y - 7}" y2="{y + 7}" stroke="{colour}" '
            'stroke-width="3"/>']


def axis(most: float, height: float) -> list[str]:
    step = 0.2 if most < 2 else (0.5 if most < 5 else 1.0)
    parts = []
    for i in range(int(most / step) + 1):
        x = LEFT + WIDTH * i * step / most
        strong = abs(i * step - 1) < 1e-9
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 12}" y2="{height - 10}" '
                     f'stroke="{"#444" if strong else "#ddd"}"/>')
        parts.append(f'<text x="{x:.1f}" y="{TOP - 16}" text-anchor="middle" fill="#555">{i * step:.1f}</text>')
    return parts


def svg(summaries: list[dict], labels: tuple[str, str], what: str = "Rate") -> str:
    height = TOP + ROW * len(summaries) + 14
    most = scale(summaries)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 90}" height="{height}" '
             'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>',
             f'<text x="10" y="20" font-size="14">{escape(what)} of {escape(labels[1])} over {escape(labels[0])} '
             '(blue: median, quartiles, extremes; grey: A over itself; orange: the limit; green: goal)</text>', *axis(most, height)]
    for index, summary in enumerate(summaries):
        y = TOP + ROW * index + ROW / 2
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(summary["case"])}</text>')
        ratio, same, limit = spreads(summary)
        parts += box(limit, y + 1, "#e08020", most) + box(same, y + 10, "#999999", most) + box(ratio, y - 8, "#1f5fbf", most)
        if summary.get("goal"):
            x = LEFT + WIDTH * summary["goal"] / most
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 15}" y2="{y + 15}" stroke="#1a8f3c" '
                         'stroke-width="2"/>')
        if ratio:
            parts.append(f'<text x="{LEFT + WIDTH + 8}" y="{y}" fill="#1f5fbf">{ratio["median"]:.2f}, '
                         f'{summary["kept"]} pairs</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
