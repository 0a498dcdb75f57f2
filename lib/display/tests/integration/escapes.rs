//! Names and texts of an attacker's choosing in every place of every input that holds text: the
//! rendering keeps the elements and attributes it has, and gains none.

use std::fs;

use display::{RichDisplay, html::escape};
use proptest::prelude::*;
use serde_json::Value;

use crate::{PICTURE, render};

/// Fields whose texts are choices of the program and not of anybody else.
const CHOICES: [&str; 7] = [
    "dtype",
    "kind",
    "finish_reason",
    "stage",
    "task",
    "type",
    "Cuda",
];
/// And texts that are.
const DEVICES: [&str; 2] = ["Auto", "Cpu"];
/// Elements that renderings are made of.
const ELEMENTS: [&str; 26] = [
    "b", "br", "caption", "code", "details", "div", "em", "i", "img", "ins", "kbd", "meter", "p",
    "pre", "progress", "small", "span", "strong", "summary", "table", "tbody", "td", "th", "thead",
    "tr", "wbr",
];
/// Their attributes.
const ATTRIBUTES: [&str; 10] = [
    "style", "title", "open", "value", "max", "colspan", "scope", "dir", "alt", "src",
];

/// Texts that mean something in HTML, in attributes or in styles, and some that are any text.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("<img src=x onerror=alert(1)>".to_owned()),
        Just("\" onmouseover=\"alert(1)".to_owned()),
        Just("' onmouseover='alert(1)".to_owned()),
        Just("</td></table></details><script>alert(1)</script>".to_owned()),
        Just("<!--".to_owned()),
        Just("-->".to_owned()),
        Just("]]>".to_owned()),
        Just("&lt;img&gt;".to_owned()),
        Just("&#60;img&#x3e;".to_owned()),
        Just("; background: url(http://x)".to_owned()),
        Just("\u{0}\u{1b}[2J\u{202e}".to_owned()),
        ".{0,6}",
    ];
    proptest::collection::vec(part, 1..4).prop_map(|parts| parts.concat())
}

/// Puts a text into every field that holds one.
fn attack(value: &mut Value, field: &str, text: &str) {
    match value {
        Value::String(old) if !CHOICES.contains(&field) && !DEVICES.contains(&old.as_str()) => {
            text.clone_into(old);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| attack(item, field, text)),
        Value::Object(fields) => {
            for (name, value) in fields {
                attack(value, name, text);
            }
        }
        _ => {}
    }
}

/// What is wrong with a piece of HTML, if anything.
fn fault(html: &str) -> Option<String> {
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let (tag, after) = rest[start + 1..].split_once('>')?;
        rest = after;
        let tag = tag.strip_prefix('/').unwrap_or(tag).trim_end_matches('/');
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if !ELEMENTS.contains(&name) {
            return Some(format!("element `{name}`"));
        }
        while !attributes.trim().is_empty() {
            let (name, value) = attributes.split_once('=').unwrap_or((attributes, "\"\""));
            if !ATTRIBUTES.contains(&name.trim()) {
                return Some(format!("attribute `{name}`"));
            }
            let Some((value, after)) = value
                .strip_prefix('"')
                .and_then(|value| value.split_once('"'))
            else {
                return Some(format!("the value of `{name}` has no quotes"));
            };
            if name.trim() == "src" && !value.starts_with(PICTURE) {
                return Some(format!("source `{value}`"));
            }
            if name.trim() == "style" && value.contains("url(") {
                return Some(format!("style `{value}`"));
            }
            attributes = after;
        }
    }
    None
}

#[test]
fn the_check_sees_what_it_is_for() {
    for bad in [
        "<img src=x onerror=alert(1)>",
        "<td title=\"\" onmouseover=\"alert(1)\">",
        "<td style=\"background: url(http://x)\">",
        "<td title=x>",
        "<img alt=\"\" src=\"http://x\">",
    ] {
        assert!(fault(bad).is_some(), "{bad}");
    }
    assert_eq!(
        fault("<td style=\"a\" title=\"&quot;\">&lt;img&gt;</td>"),
        None
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_changes_what_a_rendering_is_made_of(text in hostile()) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/inputs");
        for entry in fs::read_dir(folder).expect("the inputs are there") {
            let path = entry.expect("is readable").path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
            let bytes = fs::read(&path).expect("is readable");
            let mut value: Value = serde_json::from_slice(&bytes).expect("is JSON");
            attack(&mut value, "", &text);
            let bundle = render(name, value);
            let html = bundle.get("text/html").expect("has HTML");
            prop_assert_eq!(fault(html), None, "{} with {:?}: {}", name, text, html);
        }
    }

    #[test]
    fn an_escaped_text_has_no_markup(text in hostile()) {
        let safe = escape(&text);
        prop_assert!(!safe.contains(['<', '>', '"', '\'']), "{safe}");
    }
}

/// An error of a user's own type is shown by the same rules as ours.
#[test]
fn a_failure_with_markup_in_all_its_parts_is_text() {
    let failure = wire::Failure::new(wire::FailureKind::Internal, "<script>x</script>")
        .hint("<img src=x onerror=alert(1)>");
    let html = failure.bundle();
    assert_eq!(fault(html.get("text/html").expect("has HTML")), None);
}
