//! How likely generated tokens were: the text with each token shaded the more the less likely it was, a
//! table of what else might have come, and a plot over the positions.

use std::fmt::Write;

use serde_json::{Value, json};
use wire::{
    logprobs::{Logprobs, ScoredToken, TokenLogprob},
    mime::Bundle,
};

use crate::{
    RichDisplay,
    chart::{Axis, Chart, Plot},
    html::{self, PRE, TOGETHER},
    rendered,
    table::columns,
    units,
};

/// Tokens whose table is shown unfolded.
const OPEN_ROWS: usize = 40;
/// Rows of the table at most.
const MOST_ROWS: usize = 900;
/// Rows of a text at most.
const TEXT_ROWS: usize = 60;
/// Tokens that are shaded at most.
const MOST_SHADED: usize = 4000;
/// How opaque an impossible token's background is.
const DARKEST: f32 = 0.55;
/// Lines of a plot; apart for colour-blind readers too (Okabe and Ito, 2008).
const LINES: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];
const NAMES: [&str; 6] = ["blue", "red", "green", "pink", "orange", "light blue"];

impl RichDisplay for Logprobs {
    fn bundle(&self) -> Bundle {
        rendered(text(self), html(self))
    }
}

/// The probability of each token over its position, a line a sequence. `None` without a token.
pub fn probability_plot(sequences: &[&Logprobs]) -> Option<Chart> {
    let longest = sequences.iter().map(|one| one.tokens.len()).max()?;
    if longest == 0 {
        return None;
    }
    let step = (longest.div_ceil(10)).max(1);
    let x = Axis {
        title: "position",
        ends: (0.0, (longest - 1).max(1) as f64),
        ticks: (0..longest)
            .step_by(step)
            .map(|position| position as f64)
            .collect(),
    };
    let mut plot = Plot::new(title(sequences.len()), x, Axis::to("probability", 1.0));
    let mut values: Vec<Value> = Vec::new();
    for (index, sequence) in sequences.iter().enumerate() {
        let tokens = (0_u32..).zip(&sequence.tokens);
        let points: Vec<(f64, f64)> = tokens
            .clone()
            .map(|(position, one)| (f64::from(position), probability(&one.token)))
            .collect();
        plot.line(&points, LINES[index % LINES.len()]);
        values.extend(tokens.map(|(position, one)| {
            json!({
                "sequence": index,
                "position": position,
                "token": label(&one.token),
                "probability": probability(&one.token),
            })
        }));
    }
    Some(Chart::new(&layers(&values, sequences.len()), plot))
}

fn title(sequences: usize) -> Vec<String> {
    let mut title = vec!["Probability of each token over its position".to_owned()];
    if sequences > 1 {
        let names = (0..sequences.min(NAMES.len())).zip(NAMES);
        let names = names.map(|(index, name)| format!("{index} {name}"));
        let rest = if sequences > NAMES.len() { ", …" } else { "" };
        let names = names.collect::<Vec<_>>().join(", ");
        title.push(format!("sequences: {names}{rest}"));
    }
    title
}

fn layers(values: &[Value], sequences: usize) -> Value {
    let mut encoding = json!({
        "x": {
            "field": "position", "type": "quantitative", "title": "position",
            "axis": {"tickMinStep": 1, "format": "d"},
        },
        "y": {
            "field": "probability", "type": "quantitative", "title": "probability",
            "scale": {"domain": [0, 1]},
        },
        "tooltip": [
            {"field": "position", "type": "quantitative"},
            {"field": "token", "type": "nominal"},
            {"field": "probability", "type": "quantitative", "format": ".3f"},
        ],
    });
    if sequences > 1 {
        encoding["color"] = json!({
            "field": "sequence", "type": "nominal", "scale": {"range": LINES},
        });
    }
    let mark = json!({"type": "line", "point": true, "color": LINES[0]});
    json!([{"data": {"values": values}, "mark": mark, "encoding": encoding}])
}

/// Within [0, 1], also of a token that nothing is known of.
fn probability(token: &ScoredToken) -> f64 {
    let probability = f64::from(token.probability());
    if probability.is_finite() {
        probability.clamp(0.0, 1.0)
    } else {
        0.0
    }
}

/// What a token says, on one line; its id where that is nothing.
fn label(token: &ScoredToken) -> String {
    if token.text.is_empty() {
        return format!("[{}]", token.id);
    }
    html::visible_inline(&token.text)
}

fn percent(token: &ScoredToken) -> String {
    let percent = probability(token) * 100.0;
    if percent < 0.05 && percent > 0.0 {
        return "< 0.1 %".to_owned();
    }
    format!("{percent:.1} %")
}

fn summary(logprobs: &Logprobs) -> String {
    let tokens = &logprobs.tokens;
    let mut parts = vec![
        units::plural(tokens.len(), "token"),
        format!("log probability {:.3}", logprobs.total()),
        format!("{:.3} a token", logprobs.mean()),
        format!("perplexity {:.2}", logprobs.perplexity()),
    ];
    let least = (0..)
        .zip(tokens)
        .min_by(|(_, a), (_, b)| a.token.logprob.total_cmp(&b.token.logprob));
    if let Some((position, one)) = least {
        let (label, percent) = (label(&one.token), percent(&one.token));
        parts.push(format!(
            "least likely: {label} at position {position}, {percent}"
        ));
    }
    parts.join(" · ")
}

const HEADER: [&str; 5] = ["#", "token", "probability", "logprob", "likeliest"];

fn text(logprobs: &Logprobs) -> String {
    let mut lines = vec![HEADER.map(str::to_owned).to_vec()];
    for (position, one) in (0..).zip(logprobs.tokens.iter().take(TEXT_ROWS)) {
        let alternatives = one.alternatives.iter();
        let alternatives = alternatives.map(|other| format!("{} {}", label(other), percent(other)));
        lines.push(vec![
            position.to_string(),
            label(&one.token),
            percent(&one.token),
            format!("{:.4}", one.token.logprob),
            alternatives.collect::<Vec<_>>().join(" │ "),
        ]);
    }
    let mut text = format!("{}\n{}", summary(logprobs), columns(&lines));
    if let Some(left) = logprobs.tokens.len().checked_sub(TEXT_ROWS + 1) {
        let _ = write!(text, "\n  … and {} more", left + 1);
    }
    text
}

fn html(logprobs: &Logprobs) -> String {
    format!(
        "<div><div dir=\"auto\" style=\"{PRE}\">{}</div>{}</div>",
        shaded(logprobs),
        below(logprobs)
    )
}

/// The text, each token with its probability in per cent: the shade says the same.
pub(crate) fn shaded(logprobs: &Logprobs) -> String {
    let mut html = String::new();
    for (index, TokenLogprob { token, .. }) in logprobs.tokens.iter().take(MOST_SHADED).enumerate()
    {
        let separator = if index + 1 < logprobs.tokens.len() {
            "│<wbr>"
        } else {
            ""
        };
        // The break stands behind the figure, which belongs to its own token.
        let breaks = "\n".repeat(token.text.matches('\n').count());
        let opacity = (1.0 - probability(token) as f32) * DARKEST;
        let _ = write!(
            html,
            "<span style=\"background: rgba(230, 100, 0, {opacity:.2}); border-radius: 2px;\" \
             title=\"{}\">{}<small>{TOGETHER}{:.0}%</small></span>{separator}{breaks}",
            html::escape(&format!(
                "id {} · {} · logprob {:.4}",
                token.id,
                percent(token),
                token.logprob
            )),
            html::escape(&label(token)),
            probability(token) * 100.0
        );
    }
    if let Some(left) = logprobs.tokens.len().checked_sub(MOST_SHADED + 1) {
        let _ = write!(html, " … and {} more", left + 1);
    }
    html
}

/// What stands below the text: figures, plot and table.
pub(crate) fn below(logprobs: &Logprobs) -> String {
    let mut html = format!(
        "<p><small>{}</small></p>",
        html::figures(&summary(logprobs))
    );
    if let Some(chart) = probability_plot(&[logprobs]) {
        let picture = format!("<div>{}</div>", chart.picture());
        html.push_str(&html::details("Probability by position", false, &picture));
    }
    let rows: Vec<Vec<String>> = (0..)
        .zip(logprobs.tokens.iter().take(MOST_ROWS))
        .map(|(position, one)| row(position, one))
        .collect();
    let mut table = html::table("", &HEADER, &rows);
    if let Some(left) = logprobs.tokens.len().checked_sub(MOST_ROWS + 1) {
        let _ = write!(table, "<p>… and {} more</p>", left + 1);
    }
    let open = logprobs.tokens.len() <= OPEN_ROWS;
    html.push_str(&html::details("Tokens and alternatives", open, &table));
    html
}

fn row(position: usize, one: &TokenLogprob) -> Vec<String> {
    let cell = |token: &ScoredToken| {
        format!(
            "<code title=\"id {}\">{}</code>",
            token.id,
            html::escape(&label(token))
        )
    };
    let alternatives = one.alternatives.iter().map(|other| {
        let cell = format!(
            "{}{TOGETHER}{}",
            cell(other),
            html::figures(&percent(other))
        );
        if other.id == one.token.id {
            format!("<b>{cell}</b>")
        } else {
            cell
        }
    });
    vec![
        position.to_string(),
        cell(&one.token),
        html::figures(&percent(&one.token)),
        format!("{:.4}", one.token.logprob),
        alternatives.collect::<Vec<_>>().join(" │ "),
    ]
}
