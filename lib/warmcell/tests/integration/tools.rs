//! Functions that `tool!` describes, against what transformers' `get_json_schema` makes of the same in
//! Python (`schemas` of the engine's fixture `chat_calls.json`, by `make_chat_calls.py`).

use serde_json::Value;
use warmcell::tool;

#[test]
fn a_function_is_described_as_in_python() {
    let temperature = tool! {
        /// Tells the temperature of a place.
        ///
        /// Returns:
        ///     The temperature.
        fn temperature(
            /// The city, as in "Seoul, South Korea"
            city: String,
            /// The unit of the answer (choices: ["celsius", "fahrenheit"])
            unit: String,
            /// How many days
            /// ahead
            days: i64,
            /// Whether to measure
            exact: bool,
        ) -> f64
    };
    let search = tool! {
        /// Looks words up.
        fn search(
            /// What to look for
            words: Vec<String>,
            /// How many results
            most: Option<i64>,
        )
    };
    let fixture = include_str!("../../../engine/tests/fixtures/chat_calls.json");
    let fixture: Value = serde_json::from_str(fixture).expect("is JSON");
    let mut wanted = fixture["schemas"].clone();
    // Python's have defaults, which Rust's arguments cannot.
    wanted[0]["function"]["parameters"]["required"] =
        serde_json::json!(["city", "unit", "days", "exact"]);
    assert_eq!(Value::from(vec![temperature, search]), wanted);
}

/// A cell that could not write these types lost its variables.
#[test]
fn what_values_are_made_of_has_a_path() {
    use warmcell::{crates::wire, prelude::*};
    let named: serde_json::Value = json!({"a": [1, null]});
    let same: warmcell::serde_json::Value = named.clone();
    assert_eq!(Json::parse(&named.to_string()).expect("is JSON").0, same);
    let residents: Vec<wire::model::Resident> = Vec::new();
    assert!(residents.is_empty());
}
