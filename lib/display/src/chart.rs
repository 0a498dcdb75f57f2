//! Charts of this crate's own: a Vega-Lite v5 specification for front ends that draw it, and the same
//! as an SVG picture for all others. What is drawn is the callers' matter; here are axes and scales.

use std::fmt::Write;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use wire::mime::Bundle;

use crate::{RichDisplay, base64, html};

/// Vega-Lite's own name for its fifth version, which front ends know.
const SCHEMA: &str = "https://vega.github.io/schema/vega-lite/v5.json";
/// A picture knows no theme, and no grey is readable on the whites and the blacks of all of them: it brings
/// its own paper.
const PAPER: &str = "#ffffff";
const INK: &str = "#595959";
/// Size of the drawing inside its axes, in pixels.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 52.0;
/// Of a line of the title.
const LINE: f64 = 15.0;
const BOTTOM: f64 = 44.0;
const RIGHT: f64 = 12.0;

/// A chart, with a description for readers who do not see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    spec: Value,
    svg: String,
    alt: String,
}

impl Chart {
    /// A chart from the layers of a Vega-Lite specification, and the picture that shows the same.
    pub(crate) fn new(layers: &Value, plot: Plot) -> Self {
        let alt = plot.title.join(". ");
        let spec = json!({
            "$schema": SCHEMA,
            "description": alt,
            "title": {"text": plot.title, "fontSize": 11, "fontWeight": "normal"},
            "width": WIDTH,
            "height": HEIGHT,
            "layer": layers,
        });
        let svg = plot.finish();
        Self { spec, svg, alt }
    }

    /// The Vega-Lite v5 specification.
    pub fn spec(&self) -> &Value {
        &self.spec
    }

    /// The picture.
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// The picture inside HTML. As an `<img>` it survives sanitisers, which take `<svg>` away.
    pub(crate) fn picture(&self) -> String {
        format!(
            "<img alt=\"{}\" src=\"data:image/svg+xml;base64,{}\">",
            html::escape(&self.alt),
            base64::encode(self.svg.as_bytes())
        )
    }
}

/// Without HTML, which JupyterLab would prefer to the chart.
impl RichDisplay for Chart {
    fn bundle(&self) -> Bundle {
        Bundle::text(format!("[chart: {}]", self.alt))
            .with("application/vnd.vegalite.v5+json", self.spec.clone())
            .with("image/svg+xml", self.svg.as_str())
    }
}

/// As its specification.
impl Serialize for Chart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.spec.serialize(serializer)
    }
}

/// One axis: its title, its ends, and where its ticks are.
pub(crate) struct Axis {
    pub title: &'static str,
    pub ends: (f64, f64),
    pub ticks: Vec<f64>,
}

impl Axis {
    /// From zero to `most` or a little beyond, with ticks at round numbers.
    pub fn to(title: &'static str, most: f64) -> Self {
        let step = round_step(most.max(1e-9) / 4.0);
        let count = (most / step).ceil().max(1.0);
        Self {
            title,
            ends: (0.0, count * step),
            ticks: (0..=count as u32)
                .map(|tick| f64::from(tick) * step)
                .collect(),
        }
    }

    /// The place of a value along `length` pixels.
    fn place(&self, value: f64, length: f64) -> f64 {
        let (start, end) = self.ends;
        (value - start) / (end - start).max(1e-9) * length
    }
}

/// The next 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factors = [1.0, 2.0, 5.0].into_iter();
    let fits = factors.map(|factor| factor * power).find(|&at| at >= step);
    fits.unwrap_or(10.0 * power)
}

/// A picture in the making.
pub(crate) struct Plot {
    /// Lines that stand above it.
    title: Vec<String>,
    x: Axis,
    y: Axis,
    marks: String,
}

impl Plot {
    pub fn new(title: Vec<String>, x: Axis, y: Axis) -> Self {
        Self {
            title,
            x,
            y,
            marks: String::new(),
        }
    }

    /// A bar over a stretch of the x axis.
    pub fn bar(&mut self, (from, to): (f64, f64), height: f64, colour: &str) {
        let (left, top) = self.at(from, height);
        let (right, bottom) = self.at(to, 0.0);
        let _ = write!(
            self.marks,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
            (right - left - 0.5).max(0.5),
            bottom - top
        );
    }

    /// A point on a stem.
    pub fn stem(&mut self, x: f64, height: f64, colour: &str) {
        let ((x, top), (_, bottom)) = (self.at(x, height), self.at(x, 0.0));
        let _ = write!(
            self.marks,
            "<path d=\"M{x:.1} {bottom:.1}V{top:.1}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
        );
        self.dot(x, top, colour);
    }

    /// Points that a line joins.
    pub fn line(&mut self, points: &[(f64, f64)], colour: &str) {
        let places: Vec<(f64, f64)> = points.iter().map(|&(x, y)| self.at(x, y)).collect();
        let joined: Vec<String> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = write!(
            self.marks,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            joined.join(" ")
        );
        // More would run into each other.
        if places.len() <= 100 {
            for (x, y) in places {
                self.dot(x, y, colour);
            }
        }
    }

    fn dot(&mut self, x: f64, y: f64, colour: &str) {
        let _ = write!(
            self.marks,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>"
        );
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (
            LEFT + self.x.place(x, WIDTH),
            self.top() + HEIGHT - self.y.place(y, HEIGHT),
        )
    }

    /// Where the drawing begins, below the title.
    fn top(&self) -> f64 {
        LINE * self.title.len() as f64 + 8.0
    }

    fn finish(self) -> String {
        let bottom = self.top() + HEIGHT;
        let (width, height) = (LEFT + WIDTH + RIGHT, bottom + BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\" fill=\"{INK}\">\
             <title>{}</title><rect width=\"{width}\" height=\"{height}\" fill=\"{PAPER}\"/>",
            html::escape(&self.title.join(". "))
        );
        for (line, text) in self.title.iter().enumerate() {
            let y = LINE * (line as f64 + 0.8);
            let _ = write!(
                svg,
                "<text x=\"{LEFT}\" y=\"{y:.1}\">{}</text>",
                html::escape(text)
            );
        }
        self.write_axes(&mut svg, bottom);
        svg.push_str(&self.marks);
        svg.push_str("</svg>");
        svg
    }

    /// Lines at the y axis' ticks, ticks at the x axis', and what both are called.
    fn write_axes(&self, svg: &mut String, bottom: f64) {
        for &tick in &self.y.ticks {
            let (x, y) = self.at(self.x.ends.0, tick);
            let _ = write!(
                svg,
                "<path d=\"M{x} {y:.1}h{WIDTH}\" stroke=\"{INK}\" stroke-opacity=\"0.25\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                x - 6.0,
                y + 4.0,
                number(tick)
            );
        }
        for &tick in &self.x.ticks {
            let (x, _) = self.at(tick, 0.0);
            let _ = write!(
                svg,
                "<path d=\"M{x:.1} {bottom}v4\" stroke=\"{INK}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                number(tick)
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(13 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            LEFT + WIDTH / 2.0,
            bottom + 34.0,
            html::escape(self.x.title),
            bottom - HEIGHT / 2.0,
            html::escape(self.y.title)
        );
    }
}

/// A tick's number: at most three digits behind the point, and none that say nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_reaches_its_largest_value_in_round_steps() {
        for (most, end, ticks) in [(9.3, 10.0, 3), (1.0, 1.0, 3), (0.034, 0.04, 5)] {
            let axis = Axis::to("", most);
            assert!((axis.ends.1 - end).abs() < 1e-9, "{most}: {:?}", axis.ticks);
            assert_eq!(axis.ticks.len(), ticks, "{most}: {:?}", axis.ticks);
        }
        assert_eq!(Axis::to("", 0.0).ticks.len(), 2);
        assert_eq!(
            [number(0.5), number(20.0), number(-1e-9)],
            ["0.5", "20", "0"]
        );
    }
}
