"""Panels of lines as one SVG, with the range of the values that each point is the mean of."""
import html
import math
import statistics

INK = "#222222"
WIDTH, HEIGHT = 380, 270
LEFT, RIGHT, TOP, BOTTOM = 50, WIDTH - 15, 30, HEIGHT - 45


def ticks(low, high):
    """Round numbers at even distances that enclose both."""
    rough = max(high - low, 1e-3) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    return [step * k for k in range(math.floor(low / step), math.ceil(high / step) + 1)]


def text(x, y, words, anchor="middle", fill=INK):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{html.escape(words)}</text>'


def line(x1, y1, x2, y2, stroke=INK):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}"/>'


def panel(title, across, series, styles):
    """`series` maps a name of `styles`, which says colours and dashes, to the values at each x."""
    values = [value for points in series.values() for of_x in points.values() for value in of_x]
    marks = ticks(min(values), max(values))
    most = max(x for points in series.values() for x in points) or 1
    place = lambda x: LEFT + x / most * (RIGHT - LEFT - 10)
    height = lambda y: BOTTOM - (y - marks[0]) / (marks[-1] - marks[0]) * (BOTTOM - TOP)
    drawn = [text((LEFT + RIGHT) / 2, TOP - 12, title), line(LEFT, BOTTOM, RIGHT, BOTTOM), line(LEFT, TOP, LEFT, BOTTOM)]
    for mark in marks:
        drawn += [line(LEFT - 4, height(mark), LEFT, height(mark)), text(LEFT - 7, height(mark) + 4, f"{mark:g}", "end")]
    for x in range(most + 1):
        drawn += [line(place(x), BOTTOM, place(x), BOTTOM + 4), text(place(x), BOTTOM + 17, str(x))]
    drawn.append(text((LEFT + RIGHT) / 2, HEIGHT - 10, across))
    for name, (colour, dash) in styles.items():
        points = sorted((x, of_x) for x, of_x in series.get(name, {}).items() if of_x)
        path = " ".join(f"{place(x):.1f},{height(statistics.mean(of_x)):.1f}" for x, of_x in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        for x, of_x in points:
            drawn.append(line(place(x), height(min(of_x)), place(x), height(max(of_x)), colour))
            drawn.append(f'<circle cx="{place(x):.1f}" cy="{height(statistics.mean(of_x)):.1f}" r="3" fill="{colour}"/>')
    return drawn


def svg(title, across, panels, styles):
    """Two panels a row, of (title, series), below a title and a legend."""
    columns = min(2, len(panels))
    width, height = columns * WIDTH, 50 + math.ceil(len(panels) / columns) * HEIGHT
    drawn = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
             f'font-family="sans-serif" font-size="12">', f"<title>{html.escape(title)}</title>",
             '<rect width="100%" height="100%" fill="white"/>', text(width / 2, 18, title)]
    for i, (name, (colour, dash)) in enumerate(styles.items()):
        x = width / 2 + (i - 1) * 170 - 60
        drawn.append(f'<line x1="{x}" y1="36" x2="{x + 26}" y2="36" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        drawn.append(text(x + 32, 40, name, "start", colour))
    for i, (name, series) in enumerate(panels):
        drawn.append(f'<g transform="translate({i % columns * WIDTH} {50 + i // columns * HEIGHT})">')
        drawn += [*panel(name, across, series, styles), "</g>"]
    return "\n".join([*drawn, "</svg>"]) + "\n"
