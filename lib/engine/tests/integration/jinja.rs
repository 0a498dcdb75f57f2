//! Templates against Jinja2 itself: generated snippets and what transformers' environment makes of them
//! (`fixtures/jinja_snippets.json`, by `make_jinja_snippets.py`). What differs is listed in [`KNOWN`];
//! none of it is in a template of `chat_templates.json`.

use std::{collections::BTreeMap, fmt::Write};

use engine::template::render;

use crate::support;

/// What differs from Jinja2, and a text of the snippets by which each is known.
const KNOWN: [(&str, &[&str]); 10] = [
    (
        "a range prints, slices and serialises as a list",
        &["range("],
    ),
    (
        "expressions of constants alone are computed while parsing, without Python's type errors",
        &[
            "{{ 1 < 'a' }}",
            "{{ none < 1 }}",
            "{{ 1 in 'a1' }}",
            "{{ 1e16 ~ '' }}",
        ],
    ),
    (
        "`str.format` has no `!r`, no `%`, and aligns dictionaries",
        &["!r}", ":%}", "{0:>8}"],
    ),
    (
        "there is no urlencode, urlize, xmlattr, wordwrap, random or lipsum",
        &["|urlencode", "|xmlattr", "|wordwrap", "|random", "lipsum"],
    ),
    (
        "filters that look at attributes or compare take what Python's would refuse",
        &["attribute=", "|groupby", "by='value'", "|max", "|min"],
    ),
    (
        "filters that select need a list where Jinja2 also takes 0 or false",
        &["|selectattr", "|rejectattr", "|select", "|reject", "|map("],
    ),
    (
        "there are no bytes and no `str.translate`",
        &["encode(", "translate("],
    ),
    (
        "the grammar: no unary plus, no assignment to `loop`",
        &["{{ +1 }}", "{% set loop"],
    ),
    (
        "the tests `filter` and `test` need a text, and a dictionary cannot be sliced",
        &[
            "is test",
            "is filter",
            "[3:0:-1]",
            "[1:3]",
            "[1:]",
            "[:2]",
            "[::2]",
        ],
    ),
    (
        "printing: `pprint` never wraps, `macro.arguments` as a list, and a \
         `filter` block may give a number",
        &["pprint", "f.arguments", "filter length"],
    ),
];

#[test]
fn snippets_do_what_they_do_in_jinja2() {
    let fixture = support::json("jinja_snippets.json");
    let context = fixture["context"].as_object().unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() > 2000, "{} snippets", cases.len());
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unknown = String::new();
    for case in cases {
        let template = case["template"].as_str().unwrap();
        let outcome = render(template, context.clone());
        match (&outcome, case["expected"].as_str()) {
            (Ok(text), Some(expected)) if text == expected => continue,
            (Err(_), None) => continue,
            _ => {}
        }
        let reason = KNOWN
            .iter()
            .find(|(_, signs)| signs.iter().any(|sign| template.contains(sign)));
        if let Some((reason, _)) = reason {
            *known.entry(reason).or_default() += 1;
        } else {
            let expected = case.get("expected").unwrap_or(&case["error"]);
            let _ = writeln!(
                unknown,
                "{template:?}\n  got  {outcome:?}\n  want {expected}"
            );
        }
    }
    assert!(
        unknown.is_empty(),
        "differences that are not listed:\n{unknown}"
    );
    // A sign that covers too much would hide new differences.
    let listed: usize = known.values().sum();
    assert!(listed <= 90, "{listed} differences: {known:#?}");
}
