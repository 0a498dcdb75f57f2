//! Charts: a Vega-Lite specification and a picture that say the same, and nothing of the user's text as
//! markup.

use std::fs;

use display::{Chart, RichDisplay, probability_plot, weight_histogram};
use serde::de::DeserializeOwned;
use wire::{logprobs::Logprobs, quantization_report::QuantizationReport};

fn input<T: DeserializeOwned>(name: &str) -> T {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/inputs");
    let text = fs::read(format!("{folder}/{name}.json")).expect("is there");
    serde_json::from_slice(&text).expect("is a wire value")
}

fn charts() -> [(&'static str, Chart); 3] {
    let (one, two): (Logprobs, Logprobs) = (input("logprobs-hostile"), input("logprobs-hostile"));
    let report: QuantizationReport = input("quantization-nf4");
    [
        ("plot", probability_plot(&[&one]).expect("has tokens")),
        (
            "plots",
            probability_plot(&[&one, &two]).expect("has tokens"),
        ),
        ("histogram", weight_histogram(&report).expect("has codes")),
    ]
}

#[test]
fn charts_are_as_they_were() {
    for (name, chart) in charts() {
        let svg = chart.svg().replace("><", ">\n<");
        let spec = serde_json::to_string(chart.spec()).expect("is JSON");
        insta::assert_snapshot!(format!("chart-{name}"), format!("{svg}\n────────\n{spec}"));
    }
}

#[test]
fn a_chart_has_a_specification_a_picture_and_words() {
    for (_, chart) in charts() {
        let bundle = chart.bundle();
        let spec = &bundle.data["application/vnd.vegalite.v5+json"];
        assert_eq!(
            spec["$schema"],
            "https://vega.github.io/schema/vega-lite/v5.json"
        );
        assert!(
            bundle
                .get("image/svg+xml")
                .is_some_and(|svg| svg.starts_with("<svg "))
        );
        assert!(
            bundle
                .get("text/plain")
                .is_some_and(|text| text.starts_with("[chart: "))
        );
        // JupyterLab would show it in the chart's place.
        assert!(!bundle.data.contains_key("text/html"));
        assert!(!chart.svg().contains("<img") && !chart.svg().contains("<script"));
    }
}

#[test]
fn what_has_nothing_to_draw_has_no_chart() {
    assert!(probability_plot(&[&Logprobs::default()]).is_none());
    assert!(probability_plot(&[]).is_none());
    let report: QuantizationReport = input("quantization-gguf");
    assert!(weight_histogram(&report).is_none());
}

/// All weights in one code, and no weight at all: shares stay numbers.
#[test]
fn extremes_stay_inside_the_picture() {
    let mut report: QuantizationReport = input("quantization-nf4");
    for counts in [1_u64, 0] {
        report.histogram.fill(0);
        report.codes.iter_mut().for_each(|code| code.count = 0);
        report.codes[0].count = counts;
        let chart = weight_histogram(&report).expect("has codes");
        assert!(!chart.svg().contains("NaN") && !chart.svg().contains("inf"));
        assert!(
            !report
                .bundle()
                .get("text/plain")
                .expect("has text")
                .contains("NaN")
        );
    }
}
