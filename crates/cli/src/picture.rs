//! Small pictures as SVG: a chart of two lines and a heat map.

use std::fmt::Write as _;
use std::path::PathBuf;

use adaptkit::adapters::atomic::{check_file, write_file};
use adaptkit::encoder::foreign_text::is_deceptive;
use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::error::CliError;

const INK: &str = "#222222";
const LEFT: &str = "#1f5fa8";
const RIGHT: &str = "#c25a12";

/// A named line of points (x, y).
pub(crate) struct Series<'a> {
    pub(crate) name: &'a str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Two lines over the same x, each with an axis of its own.
pub(crate) struct LineChart<'a> {
    pub(crate) title: &'a str,
    pub(crate) across: &'a str,
    pub(crate) left: Series<'a>,
    pub(crate) right: Series<'a>,
}

/// A value at a place of a grid.
pub(crate) struct Cell {
    pub(crate) column: usize,
    pub(crate) row: usize,
    pub(crate) value: f64,
    pub(crate) words: String,
}

/// Values as colours: blue above zero, red below.
pub(crate) struct HeatMap<'a> {
    pub(crate) title: &'a str,
    pub(crate) across: &'a str,
    pub(crate) down: &'a str,
    /// The columns' names.
    pub(crate) columns: Vec<String>,
    /// The rows' names.
    pub(crate) rows: Vec<String>,
    pub(crate) cells: Vec<Cell>,
}

/// Where a picture goes, and whether it gets a page around it. The file's ending says which.
#[derive(Clone, Debug)]
pub(crate) struct PictureFile {
    path: PathBuf,
    page: bool,
}

impl PictureFile {
    /// Reads the value of a flag: a path that ends in `.svg` or `.html`, or has no ending.
    pub(crate) fn parser() -> impl TypedValueParser<Value = PictureFile> {
        PathBufValueParser::new().try_map(PictureFile::new)
    }

    fn new(path: PathBuf) -> Result<PictureFile, String> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        let page = match ending.as_deref() {
            None | Some("svg") => false,
            Some("html" | "htm") => true,
            Some(other) => {
                return Err(format!(
                    "pictures are drawn as .svg, or as .html for a page around them, not as .{other}"
                ));
            }
        };
        Ok(PictureFile { path, page })
    }

    /// Checks, before the work whose result it shows, that the picture can be written.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        Ok(check_file(&self.path)?)
    }

    /// The picture of one part of a result: `a.svg` and `_mm` are `a_mm.svg`.
    pub(crate) fn with_suffix(&self, suffix: &str) -> PictureFile {
        let mut name = self.path.file_stem().unwrap_or_default().to_owned();
        name.push(suffix);
        if let Some(ending) = self.path.extension() {
            name.push(".");
            name.push(ending);
        }
        PictureFile { path: self.path.with_file_name(name), page: self.page }
    }

    /// Writes the picture.
    pub(crate) fn write(&self, title: &str, svg: String) -> Result<(), CliError> {
        let text = if self.page { html(title, &svg) } else { svg };
        Ok(write_file(&self.path, text.as_bytes())?)
    }
}

/// What has a meaning of its own in XML, escaped.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars().filter(|c| !is_deceptive(*c)) {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A page that shows a picture and needs nothing else.
fn html(title: &str, svg: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title>\
         </head>\n<body>\n{svg}</body>\n</html>\n"
    )
}

struct Svg(String);

impl Svg {
    fn new(width: f64, height: f64, title: &str) -> Svg {
        let title = escaped(title);
        let mut svg = Svg(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        ));
        svg.text(width / 2.0, 20.0, "middle", INK, &title);
        svg
    }

    /// Escaped text.
    fn text(&mut self, x: f64, y: f64, anchor: &str, fill: &str, words: &str) {
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{fill}\">{words}</text>"
        );
    }

    /// Escaped text, read upwards.
    fn text_upwards(&mut self, x: f64, y: f64, fill: &str, words: &str) {
        let _ = writeln!(
            self.0,
            "<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"middle\" \
             fill=\"{fill}\">{words}</text>"
        );
    }

    fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], stroke: &str) {
        let _ = writeln!(
            self.0,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{stroke}\"/>"
        );
    }

    fn end(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

/// Round numbers at even distances that enclose the values, four to nine of them.
fn ticks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let (low, high) = match low <= high {
        false => (0.0, 1.0),
        true if high - low < 1e-9 => (low - 0.5, high + 0.5),
        true => (low, high),
    };
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power);
    let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power);
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    (first..=last).map(|tick| tick as f64 * step).collect()
}

impl LineChart<'_> {
    pub(crate) fn svg(&self) -> String {
        const WIDTH: f64 = 640.0;
        const HEIGHT: f64 = 360.0;
        let (left, right, top, bottom) = (70.0, WIDTH - 70.0, 40.0, HEIGHT - 55.0);
        let mut svg = Svg::new(WIDTH, HEIGHT, self.title);
        let xs = self.left.points.iter().map(|(x, _)| *x);
        let most = xs.clone().fold(1.0, f64::max);
        let across = |x: f64| left + x / most * (right - left);
        svg.line([left, bottom], [right, bottom], INK);
        for x in xs {
            svg.line([across(x), bottom], [across(x), bottom + 4.0], INK);
            svg.text(across(x), bottom + 18.0, "middle", INK, &x.to_string());
        }
        svg.text((left + right) / 2.0, HEIGHT - 15.0, "middle", INK, &escaped(self.across));
        for (series, edge, colour, outwards, dash) in
            [(&self.left, left, LEFT, -1.0, "none"), (&self.right, right, RIGHT, 1.0, "6 4")]
        {
            let ticks = ticks(series.points.iter().map(|(_, y)| *y));
            let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
            let up = |y: f64| bottom - (y - low) / (high - low) * (bottom - top);
            svg.line([edge, top], [edge, bottom], colour);
            let anchor = if outwards < 0.0 { "end" } else { "start" };
            for tick in &ticks {
                let y = up(*tick);
                svg.line([edge, y], [edge + 4.0 * outwards, y], colour);
                let words = format!("{:.4}", tick);
                let words = words.trim_end_matches('0').trim_end_matches('.');
                svg.text(edge + 8.0 * outwards, y + 4.0, anchor, colour, words);
            }
            let middle = (top + bottom) / 2.0;
            svg.text_upwards(edge + 52.0 * outwards, middle, colour, &escaped(series.name));
            let finite = series.points.iter().filter(|(_, y)| y.is_finite());
            let places: Vec<[f64; 2]> = finite.map(|(x, y)| [across(*x), up(*y)]).collect();
            let path: Vec<String> = places.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                svg.0,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
                 stroke-dasharray=\"{dash}\"/>",
                path.join(" ")
            );
            for [x, y] in places {
                let _ = writeln!(
                    svg.0,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
                );
            }
        }
        svg.end()
    }
}

impl HeatMap<'_> {
    pub(crate) fn svg(&self) -> String {
        const CELL: f64 = 48.0;
        const MARGIN: f64 = 70.0;
        /// Of a character of the rows' names, about.
        const CHARACTER: f64 = 7.0;
        let longest = self.rows.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let left = MARGIN.max(40.0 + CHARACTER * longest as f64);
        let (columns, rows) = (self.columns.len() as f64, self.rows.len() as f64);
        let (width, height) = (left + CELL * columns + MARGIN, MARGIN * 2.0 + CELL * rows);
        let mut svg = Svg::new(width, height, self.title);
        let largest = self.cells.iter().map(|cell| cell.value.abs());
        let largest = largest.filter(|value| value.is_finite()).fold(1e-9, f64::max);
        let across = |column: usize| left + CELL * column as f64;
        let down = |row: usize| MARGIN + CELL * row as f64;
        for Cell { column, row, value, words } in &self.cells {
            // The strongest colour is the largest value's; white is zero.
            let share = if value.is_finite() { (value / largest).clamp(-1.0, 1.0) } else { 0.0 };
            let faint = (255.0 * (1.0 - 0.7 * share.abs())) as u8;
            let colour = match share >= 0.0 {
                true => format!("#{faint:02x}{faint:02x}ff"),
                false => format!("#ff{faint:02x}{faint:02x}"),
            };
            let (x, y) = (across(*column), down(*row));
            let _ = writeln!(
                svg.0,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"{colour}\" \
                 stroke=\"white\"/>"
            );
            svg.text(x + CELL / 2.0, y + CELL / 2.0 + 4.0, "middle", INK, &escaped(words));
        }
        for (column, name) in self.columns.iter().enumerate() {
            let middle = across(column) + CELL / 2.0;
            svg.text(middle, down(self.rows.len()) + 16.0, "middle", INK, &escaped(name));
        }
        for (row, name) in self.rows.iter().enumerate() {
            svg.text(left - 8.0, down(row) + CELL / 2.0 + 4.0, "end", INK, &escaped(name));
        }
        let middle = left + CELL * columns / 2.0;
        svg.text(middle, height - 20.0, "middle", INK, &escaped(self.across));
        svg.text_upwards(20.0, height / 2.0, INK, &escaped(self.down));
        svg.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_enclose_the_values() {
        for values in
            [vec![0.61, 0.83], vec![1.0, 2.93], vec![0.5], vec![f64::NAN], vec![-3.0, 7.0]]
        {
            let ticks = ticks(values.iter().copied());
            assert!((2..=9).contains(&ticks.len()), "{values:?}: {ticks:?}");
            let inside =
                |x: &f64| !x.is_finite() || (ticks[0] <= *x && *x <= ticks[ticks.len() - 1]);
            assert!(values.iter().all(inside), "{values:?}: {ticks:?}");
        }
    }

    #[test]
    fn the_ending_says_what_is_drawn() {
        let page = |name: &str| PictureFile::new(name.into()).map(|file| file.page);
        let cases = [
            ("a.svg", Ok(false)),
            ("a.SVG", Ok(false)),
            ("dir.png/a", Ok(false)),
            ("a.html", Ok(true)),
            ("a.Htm", Ok(true)),
        ];
        for (name, expected) in cases {
            assert_eq!(page(name), expected, "{name}");
        }
        for name in ["a.png", "a.svg.gz", "a.PDF", "a."] {
            assert!(page(name).unwrap_err().contains(".svg"), "{name}");
        }
    }

    #[test]
    fn titles_are_text() {
        let chart = LineChart {
            title: "a<b> & \"c\"\u{1b}",
            across: "x",
            left: Series { name: "y", points: vec![(0.0, 1.0), (1.0, f64::NAN)] },
            right: Series { name: "z", points: vec![(0.0, 1.0), (1.0, 2.0)] },
        };
        let svg = chart.svg();
        assert!(svg.contains("<title>a&lt;b&gt; &amp; &quot;c&quot;</title>"), "{svg}");
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
