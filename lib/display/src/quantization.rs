//! What quantisation did to a model: sizes and errors layer by layer, and how the weights lie among the
//! values of the code book.

use std::fmt::Write;

use serde_json::{Value, json};
use wire::{
    mime::Bundle,
    quantization_report::{QuantizationReport, QuantizedLayer, Sizes},
};

use crate::{
    RichDisplay,
    chart::{Axis, Chart, Plot},
    html, rendered,
    table::columns,
    units,
};

/// Layers whose table is shown unfolded.
const OPEN_ROWS: usize = 30;
/// Layers that a text shows at most.
const TEXT_ROWS: usize = 60;
/// Rows of the table at most; experts make thousands of layers.
const MOST_ROWS: usize = 1000;
/// Widest bar of a text.
const BAR: f64 = 30.0;
/// Titles of the histogram's axes.
const PLACE: &str = "weight / largest magnitude of its block";
const SHARE: &str = "% of the weights";
const BARS: &str = "#4285f4";
const STEMS: &str = "#e08a00";

impl RichDisplay for QuantizationReport {
    fn bundle(&self) -> Bundle {
        rendered(text(self), html(self))
    }
}

/// Where the weights lie between -1 and 1, the largest magnitude of their block, and how many are
/// rounded to each value of the code book. `None` where neither is known.
pub fn weight_histogram(report: &QuantizationReport) -> Option<Chart> {
    let (bins, codes) = (shares(&report.histogram), code_shares(report));
    if bins.is_empty() && codes.is_empty() {
        return None;
    }
    let most = bins.iter().chain(&codes).copied().fold(0.0, f64::max);
    let x = Axis {
        title: PLACE,
        ends: (-1.0, 1.0),
        ticks: vec![-1.0, -0.5, 0.0, 0.5, 1.0],
    };
    let mut plot = Plot::new(title(&bins, &codes), x, Axis::to(SHARE, most));
    let width = 2.0 / bins.len().max(1) as f64;
    let place = |bin: usize| -1.0 + width * bin as f64;
    let (mut bars, mut stems) = (Vec::new(), Vec::new());
    for (bin, &share) in bins.iter().enumerate() {
        let (from, to) = (place(bin), place(bin + 1));
        plot.bar((from, to), share, BARS);
        bars.push(json!({"from": from, "to": to, "share": share}));
    }
    for (code, &share) in report.codes.iter().zip(&codes) {
        plot.stem(f64::from(code.value), share, STEMS);
        stems.push(json!({"code": code.code, "value": code.value, "share": share}));
    }
    let mut layers: Vec<Value> = Vec::new();
    if !bars.is_empty() {
        layers.push(bar_layer(&bars));
    }
    if !stems.is_empty() {
        layers.extend(stem_layers(&stems));
    }
    Some(Chart::new(&layers.into(), plot))
}

/// What is drawn, for readers of the chart and for those who do not see it.
fn title(bins: &[f64], codes: &[f64]) -> Vec<String> {
    let bars = (!bins.is_empty()).then_some("bars: the weights of the files");
    let stems = (!codes.is_empty()).then_some("stems: how many are rounded to each code");
    let parts: Vec<&str> = bars.into_iter().chain(stems).collect();
    vec![
        "Weights by their place in their block".to_owned(),
        parts.join("; "),
    ]
}

fn bar_layer(values: &[Value]) -> Value {
    json!({
        "data": {"values": values},
        "mark": {"type": "bar", "color": BARS},
        "encoding": {
            "x": {
                "field": "from", "type": "quantitative", "bin": {"binned": true},
                "title": PLACE,
            },
            "x2": {"field": "to"},
            "y": {"field": "share", "type": "quantitative", "title": SHARE},
            "tooltip": [
                {"field": "from", "type": "quantitative", "format": ".3f"},
                {"field": "to", "type": "quantitative", "format": ".3f"},
                {"field": "share", "type": "quantitative", "format": ".2f", "title": "%"},
            ],
        },
    })
}

fn stem_layers(values: &[Value]) -> [Value; 2] {
    let layer = |mark: Value| {
        json!({
            "data": {"values": values},
            "mark": mark,
            "encoding": {
                "x": {
                    "field": "value", "type": "quantitative",
                    "title": PLACE,
                },
                "y": {"field": "share", "type": "quantitative", "title": SHARE},
                "tooltip": [
                    {"field": "code", "type": "quantitative"},
                    {"field": "value", "type": "quantitative", "format": ".4f"},
                    {"field": "share", "type": "quantitative", "format": ".2f", "title": "%"},
                ],
            },
        })
    };
    [
        layer(json!({"type": "bar", "width": 1.5, "color": STEMS})),
        layer(json!({"type": "point", "filled": true, "color": STEMS})),
    ]
}

/// Counts in per cent of their sum.
fn shares(counts: &[u64]) -> Vec<f64> {
    let total = counts.iter().sum::<u64>().max(1) as f64;
    counts
        .iter()
        .map(|&count| count as f64 / total * 100.0)
        .collect()
}

fn code_shares(report: &QuantizationReport) -> Vec<f64> {
    let counts: Vec<u64> = report.codes.iter().map(|code| code.count).collect();
    shares(&counts)
}

fn caption(report: &QuantizationReport) -> String {
    format!("{} in {}", report.name, report.quantization)
}

/// What holds for the whole.
fn facts(report: &QuantizationReport) -> Vec<(&'static str, String)> {
    let weights: u64 = report.layers.iter().map(|layer| layer.weights).sum();
    let layers = units::plural(report.layers.len(), "layer");
    let mut facts = vec![(
        "quantised",
        format!("{layers}, {} weights", units::count(weights)),
    )];
    let quantized = report.quantized();
    let bits = quantized.after as f64 * 8.0 / weights.max(1) as f64;
    facts.push((
        "bytes of these",
        format!("{}, {bits:.2} bits a weight", sizes(quantized)),
    ));
    facts.push(("bytes of all others", sizes(report.others)));
    facts.push(("bytes of the model", sizes(report.total())));
    if let Some(error) = report.relative_rmse {
        facts.push(("relative RMSE", percent(error)));
    }
    if let Some(reason) = &report.without_originals {
        facts.push(("errors", reason.clone()));
    }
    facts
}

/// `256 kB → 72 kB (28.1 %)`, or what is known of it.
fn sizes(sizes: Sizes) -> String {
    let after = units::bytes(sizes.after);
    match sizes.before {
        Some(before) if before > 0 => format!(
            "{} → {after} ({:.1} %)",
            units::bytes(before),
            sizes.after as f64 / before as f64 * 100.0
        ),
        _ => after,
    }
}

fn percent(error: f64) -> String {
    format!("{:.3} %", error * 100.0)
}

/// The columns that something is known for.
fn header(report: &QuantizationReport) -> Vec<&'static str> {
    if report.without_originals.is_some() {
        return vec!["layer", "weights", "quantised as", "bytes"];
    }
    vec![
        "layer",
        "weights",
        "stored as",
        "bytes before",
        "quantised as",
        "bytes after",
        "relative RMSE",
    ]
}

fn row(layer: &QuantizedLayer, with_originals: bool) -> Vec<String> {
    let start = [layer.name.clone(), units::count(layer.weights)];
    let end = [layer.quantized_as.clone(), units::bytes(layer.bytes.after)];
    if !with_originals {
        return start.into_iter().chain(end).collect();
    }
    let unknown = || "–".to_owned();
    let before = [
        layer.stored_as.clone().unwrap_or_else(unknown),
        layer.bytes.before.map_or_else(unknown, units::bytes),
    ];
    let error = layer.relative_rmse.map_or_else(unknown, percent);
    let cells = start.into_iter().chain(before).chain(end);
    cells.chain([error]).collect()
}

/// The first rows, and how many are left out.
fn rows(report: &QuantizationReport, most: usize) -> (Vec<Vec<String>>, usize) {
    let with_originals = report.without_originals.is_none();
    let rows = report.layers.iter().take(most);
    (
        rows.map(|layer| row(layer, with_originals)).collect(),
        report.layers.len().saturating_sub(most),
    )
}

const CODES: [&str; 3] = ["code", "value", "share"];

fn code_rows(report: &QuantizationReport) -> Vec<[String; 3]> {
    let codes = report.codes.iter().zip(code_shares(report));
    codes
        .map(|(code, share)| {
            [
                format!("{:04b}", code.code),
                format!("{:+.4}", code.value),
                format!("{share:.2} %"),
            ]
        })
        .collect()
}

fn text(report: &QuantizationReport) -> String {
    let mut text = html::facts_text(&caption(report), &facts(report));
    let (rows, left) = rows(report, TEXT_ROWS);
    let header: Vec<String> = header(report).into_iter().map(str::to_owned).collect();
    let _ = write!(text, "\n{}", columns(&[vec![header], rows].concat()));
    if left > 0 {
        let _ = write!(text, "\n  … and {left} more");
    }
    let most = code_shares(report).into_iter().fold(0.0, f64::max);
    let bar = |share: f64| "▇".repeat((share / most.max(1e-9) * BAR).round() as usize);
    let mut lines = vec![CODES.map(str::to_owned).to_vec()];
    for (row, share) in code_rows(report).into_iter().zip(code_shares(report)) {
        lines.push(row.into_iter().chain([bar(share)]).collect());
    }
    if lines.len() > 1 {
        let _ = write!(text, "\n{}", columns(&lines));
    }
    text
}

fn html(report: &QuantizationReport) -> String {
    let (rows, left) = rows(report, MOST_ROWS);
    let open = report.layers.len() <= OPEN_ROWS;
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| row.iter().map(|cell| html::breakable(cell)).collect())
        .collect();
    let mut table = html::table("", &header(report), &rows);
    if left > 0 {
        let _ = write!(table, "<p>… and {left} more</p>");
    }
    let mut html = format!(
        "<div>{}{}",
        html::facts(&caption(report), &facts(report)),
        html::details("Layer by layer", open, &table)
    );
    if let Some(chart) = weight_histogram(report) {
        let codes: Vec<Vec<String>> = code_rows(report)
            .into_iter()
            .zip(code_shares(report))
            .map(|([code, value, share], number)| {
                let meter = format!("<meter value=\"{number:.2}\" max=\"20\"></meter> {share}");
                vec![format!("<code>{code}</code>"), value, meter]
            })
            .collect();
        let codes = if codes.is_empty() {
            String::new()
        } else {
            html::table("", &CODES, &codes)
        };
        let inner = format!("<div>{}</div>{codes}", chart.picture());
        html.push_str(&html::details("Weights and codes", true, &inner));
    }
    html.push_str("</div>");
    html
}
