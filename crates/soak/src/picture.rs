//! Curves over the time of a run as an SVG picture.

use std::fmt::Write;
use std::time::Duration;

/// Size of one chart, in units of the picture.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 180.0;
/// Room around the curves: for numbers on the left, names on the right, the title above.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 40.0;
const COLOURS: [&str; 6] = [
    "#1b6ca8", "#c0392b", "#27823b", "#8e5ba6", "#b9770e", "#5d6d7e",
];

/// A curve: its name, and values at times.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(Duration, f64)>,
}

/// A chart: curves with a common scale from zero.
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) curves: Vec<Curve>,
}

/// Draws charts one below the other.
pub(crate) fn draw(charts: &[Chart]) -> String {
    let height = (HEIGHT + 2.0 * TOP) * charts.len() as f64;
    let width = LEFT + WIDTH + RIGHT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (place, chart) in charts.iter().enumerate() {
        draw_chart(&mut svg, chart, (HEIGHT + 2.0 * TOP) * place as f64 + TOP);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_chart(svg: &mut String, chart: &Chart, top: f64) {
    let points = || chart.curves.iter().flat_map(|curve| &curve.points);
    let most = points().map(|point| point.1).fold(1.0, f64::max);
    let last = points().map(|point| point.0.as_secs_f64());
    let last = last.fold(1.0, f64::max);
    let bottom = top + HEIGHT;

    let title = top - 14.0;
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{title}\" font-weight=\"bold\">{}</text>",
        chart.title
    );
    for part in 0..=4 {
        let value = most * f64::from(part) / 4.0;
        let y = bottom - HEIGHT * f64::from(part) / 4.0;
        let end = LEFT + WIDTH;
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{end}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"52\" y=\"{:.1}\" text-anchor=\"end\">{value:.0}</text>",
            y + 4.0
        );
        let x = LEFT + WIDTH * f64::from(part) / 4.0;
        let hours = last * f64::from(part) / 4.0 / 3600.0;
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{hours:.1} h</text>",
            bottom + 16.0
        );
    }
    for (place, curve) in chart.curves.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        let mut line = String::new();
        for (at, value) in &curve.points {
            let x = LEFT + WIDTH * at.as_secs_f64() / last;
            let y = bottom - HEIGHT * value / most;
            let _ = write!(line, "{x:.1},{y:.1} ");
        }
        let name_x = LEFT + WIDTH + 8.0;
        let name_y = top + 12.0 + 16.0 * place as f64;
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>\
             <text x=\"{name_x}\" y=\"{name_y}\" fill=\"{colour}\">{}</text>",
            line.trim_end(),
            curve.name
        );
    }
}
