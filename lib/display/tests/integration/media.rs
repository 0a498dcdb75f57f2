//! Values that are nothing but a rendering.

use display::{Audio, Html, Image, Json, Markdown, RichDisplay, Show, Vega};
use serde_json::json;

#[test]
fn each_medium_has_its_native_type_and_text() {
    let png = [&b"\x89PNG\r\n\x1a\n"[..], b"rest"].concat();
    let bundles = [
        (
            Html("<b>hi &amp; you</b>").bundle(),
            "text/html",
            "hi & you",
        ),
        (Markdown("# hi").bundle(), "text/markdown", "# hi"),
        (
            Image::new(png).expect("is a PNG").alt("a cat").bundle(),
            "image/png",
            "[image/png: a cat]",
        ),
        (
            Audio::from_samples(&[0.0; 8], 16_000).bundle(),
            "text/html",
            "[audio/wav: 60 bytes]",
        ),
        (
            Vega(json!({"title": "loss"})).bundle(),
            "application/vnd.vegalite.v5+json",
            "[Vega-Lite: loss]",
        ),
        (
            Json(json!({"a": 1})).bundle(),
            "application/json",
            "{\n  \"a\": 1\n}",
        ),
    ];
    for (bundle, mime, text) in bundles {
        assert!(bundle.data.contains_key(mime), "{mime}");
        assert_eq!(bundle.get("text/plain"), Some(text));
    }
}

#[test]
fn bytes_of_no_known_format_are_refused() {
    let error = Image::new(*b"GIF89a").expect_err("is no PNG");
    assert_eq!(
        error.to_string(),
        "these 6 bytes are no PNG or JPEG picture"
    );
    assert!(Audio::new(*b"RIFF....AVI ").is_err());
    let error = Image::open("/nonexistent.png").expect_err("is missing");
    assert!(
        error
            .to_string()
            .starts_with("cannot read `/nonexistent.png`")
    );
}

/// A front end took the text for an address: "Javascript Error: 404".
#[test]
fn a_chart_is_an_object_or_says_what_it_is() {
    let mime = "application/vnd.vegalite.v5+json";
    let chart = Vega::parse(r#"{"title": "loss", "mark": "bar"}"#).expect("is right");
    assert_eq!(chart.bundle().data[mime]["mark"], "bar");
    for (value, told) in [
        (json!("{\"mark\": \"bar\"}"), "`Vega::parse(text)?`"),
        (json!([1]), "this is a list"),
    ] {
        let bundle = Vega(value).bundle();
        assert!(!bundle.data.contains_key(mime));
        let text = bundle.get("text/plain").unwrap_or_default();
        assert!(
            text.starts_with("no chart: ") && text.contains(told),
            "{text}"
        );
    }
    let told = |text: &str| Vega::parse(text).expect_err("is none").to_string();
    assert!(told("{mark: 1}").starts_with("this text is no JSON: key must be a string"));
    assert!(told("3").ends_with("this is a number"));
    let tree = Json::parse("{\"a\": [1]}").expect("is right");
    assert_eq!(tree.bundle().data["application/json"], json!({"a": [1]}));
    assert!(Json::parse("{").is_err());
}

#[test]
fn samples_become_a_wav_that_is_read_back() {
    let bundle = Audio::from_samples(&[0.0, 1.0, -1.0, 2.0], 8000).bundle();
    let html = bundle.get("text/html").expect("has HTML");
    // RIFF, length 44, WAVE, PCM of one channel at 8000: the header as any player reads it.
    assert!(
        html.contains(
            "base64,UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQgAAAAAAP9/AYD/fw=="
        ),
        "{html}"
    );
}

#[test]
fn display_shows_text_unquoted_and_collections_by_debug() {
    assert_eq!("hi".show().get("text/plain"), Some("hi"));
    assert_eq!(vec!["hi"].show().get("text/plain"), Some("[\"hi\"]"));
    assert_eq!(Some(Html("x")).show().get("text/html"), Some("x"));
    assert!(().show().data.is_empty());
}
