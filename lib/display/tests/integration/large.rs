//! Results of large batches and of long texts: a notebook keeps the first of them.

use display::{PipelineResults, RichDisplay};
use serde_json::{Value, json};
use wire::mime::Bundle;

/// Bytes that a notebook may get of one result.
const MOST: usize = 300_000;

fn bundle(call: Value, answer: Value) -> Bundle {
    let call = serde_json::from_value(call).expect("is a call");
    let answer = serde_json::from_value(answer).expect("is an answer");
    PipelineResults {
        call: &call,
        answer: &answer,
    }
    .bundle()
}

fn check(bundle: &Bundle, left: &str) {
    for kind in ["text/plain", "text/html"] {
        let shown = bundle.get(kind).expect("is there");
        assert!(shown.len() < MOST, "{kind}: {} bytes", shown.len());
        assert!(shown.contains(left), "{kind}");
    }
}

/// 20,000 texts were 21.7 MB of HTML.
#[test]
fn a_large_batch() {
    let count = 20_000;
    let inputs: Vec<Value> = (0..count)
        .map(|index| json!({"text": format!("text {index}"), "pair": null}))
        .collect();
    let labels =
        vec![json!([{"label": "good", "score": 0.75}, {"label": "bad", "score": 0.25}]); count];
    let call = json!({"TextClassification": {"inputs": inputs, "options": {}}});
    let bundle = bundle(call, json!({"Labels": labels}));
    check(&bundle, "… and 19900 more");
    let html = bundle.get("text/html").expect("has HTML");
    assert!(html.contains("text 99") && !html.contains("text 100"));
}

#[test]
fn a_long_text_with_many_entities() {
    let count = 10_000;
    let text = "London and Paris ".repeat(count);
    let entities: Vec<Value> = (0..count)
        .map(|index| {
            json!({
                "entity_group": "LOC", "score": 0.9, "word": "London",
                "start": 17 * index, "end": 17 * index + 6,
            })
        })
        .collect();
    let call = json!({"TokenClassification": {"inputs": [text], "options": {}}});
    let bundle = bundle(call, json!({"Entities": [entities]}));
    check(&bundle, "… and 9500 more");
    let html = bundle.get("text/html").expect("has HTML");
    assert!(html.contains("… and 160000 more characters"));
}
