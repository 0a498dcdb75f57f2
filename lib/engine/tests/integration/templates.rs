//! Chat templates of real repositories, rendered byte for byte as transformers does
//! (`fixtures/chat_templates.json`).

use engine::template::render;
use serde_json::{Map, Value, json};
use wire::FailureKind;

use crate::support;

#[test]
fn real_templates_render_as_in_transformers() {
    let fixture = support::json("chat_templates.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 27);
    // One template asks for the date.
    let today = render("{{ strftime_now('%d %B %Y') }}", Map::new()).unwrap();
    let mut wrong = Vec::new();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let target = case["target"].as_str().unwrap();
        let target = &target.replace(fixture["today"].as_str().unwrap(), &today);
        let context = case["ctx"].as_object().unwrap().clone();
        match render(case["template"].as_str().unwrap(), context) {
            Ok(text) if text == *target => {}
            Ok(text) => {
                let at = text
                    .bytes()
                    .zip(target.bytes())
                    .take_while(|(a, b)| a == b)
                    .count();
                let around = |s: &str| {
                    String::from_utf8_lossy(
                        &s.as_bytes()[at.saturating_sub(40).min(s.len())..(at + 60).min(s.len())],
                    )
                    .into_owned()
                };
                wrong.push(format!(
                    "{name}: at byte {at}\n  got  {:?}\n  want {:?}",
                    around(&text),
                    around(target)
                ));
            }
            Err(failure) => wrong.push(format!("{name}: {failure}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of 27 differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn fails(template: &str, context: Value) -> wire::Failure {
    let Value::Object(context) = context else {
        panic!("a context is an object")
    };
    let failure = render(template, context).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Template);
    failure
}

#[test]
fn a_refusal_names_the_message_and_shows_the_line() {
    let template = "{% for message in messages %}\n  {% if loop.index0 == 1 %}\n    {{ raise_exception('roles must alternate') }}\n  {% endif %}\n{% endfor %}";
    let message = json!({"role": "user", "content": "hi"});
    let failure = fails(template, json!({"messages": [message, message]}));
    insta::assert_snapshot!(failure, @r"
    the chat template refuses message 1: roles must alternate
      |
    3 |     {{ raise_exception('roles must alternate') }}
      |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: its rules are in the template's text; most ask for user and assistant in turns
    ");
    insta::assert_snapshot!(fails("a\n{{ 1 +* 2 }}", json!({})), @r"
    the chat template does not parse: unexpected `*`
      |
    2 | {{ 1 +* 2 }}
      |       ^
    ");
}

#[test]
fn generation_blocks_are_found_in_bytes() {
    let template = "{% for m in messages %}{% generation %}{{ m }}{% endgeneration %}é{% endfor %}";
    let Value::Object(context) = json!({"messages": ["ä", "bc"]}) else {
        unreachable!()
    };
    let rendered = engine::template::render_with_generation(template, context).unwrap();
    assert_eq!(rendered.text, "äébcé");
    assert_eq!(rendered.generation, [0..2, 4..6]);
}

#[test]
fn a_template_may_refuse_its_input() {
    let failure = fails("{{ raise_exception('roles must alternate') }}", json!({}));
    assert!(
        failure
            .message
            .contains("these messages: roles must alternate\n"),
        "{failure}"
    );
    assert!(
        fails("{% if %}", json!({}))
            .message
            .contains("does not parse")
    );
}

#[test]
fn json_is_written_as_python_does() {
    let context = json!({"x": {"b": [1, 2.0, 1e-5, 1e16, null, true], "a": "<한>&'"}});
    let Value::Object(context) = context else {
        unreachable!()
    };
    let text = |template: &str| render(template, context.clone()).unwrap();
    assert_eq!(
        text("{{ x | tojson }}"),
        r#"{"b": [1, 2.0, 1e-05, 1e+16, null, true], "a": "<한>&'"}"#
    );
    assert_eq!(
        text("{{ x.a | tojson(ensure_ascii=True) }}"),
        r#""<\ud55c>&'""#
    );
    assert_eq!(
        text("{{ x | tojson(indent=2, sort_keys=True) }}"),
        "{\n  \"a\": \"<한>&'\",\n  \"b\": [\n    1,\n    2.0,\n    1e-05,\n    1e+16,\n    null,\n    true\n  ]\n}"
    );
    assert_eq!(
        text("{{ x.b | tojson(separators=(',', ':')) }}"),
        "[1,2.0,1e-05,1e+16,null,true]"
    );
}

#[test]
fn generation_tags_change_no_text() {
    let template = "a\n{%- generation -%}\n b {% endgeneration %}\nc {% if true %}d{% endif %}";
    assert_eq!(render(template, Map::new()).unwrap(), "ab c d");
}

#[test]
fn dates_are_formatted_and_bad_formats_refused() {
    let year = render("{{ strftime_now('%Y') }}", Map::new()).unwrap();
    assert!(year.parse::<u32>().unwrap() >= 2025, "{year}");
    fails("{{ strftime_now('%Q%') }}", json!({}));
    // Python's time has microseconds and knows no zone.
    let fraction = render("{{ strftime_now('%f') }}", Map::new()).unwrap();
    assert_eq!(fraction.len(), 6, "{fraction}");
    assert!(fraction.parse::<u32>().is_ok(), "{fraction}");
}

/// Texts whose spelling for minijinja is longer or shorter.
#[test]
fn an_error_shows_its_place_after_what_is_respelled() {
    for before in [
        "{{ '\\U0001f600 \\U00000041 \\/' }}",
        "{%raw%}\n{% endraw %}",
        "{% generation %}x{% endgeneration %}",
    ] {
        let failure = fails(&format!("{before}é{{{{ 1 + [] }}}}"), json!({}));
        let lines: Vec<&str> = failure.message.lines().collect();
        let [.., line, caret] = lines[..] else {
            panic!("{failure:?}");
        };
        let column = caret.chars().position(|c| c == '^').unwrap();
        let marked = line.chars().skip(column).collect::<String>();
        assert!(marked.starts_with("1 + []"), "{failure:?}");
    }
}

#[test]
fn an_unknown_filter_is_no_fault_of_the_messages() {
    for template in ["{{ 'a'|nosuch }}", "{{ 'a' is nosuch }}"] {
        let hint = fails(template, json!({})).hint.unwrap();
        assert!(hint.contains("filters and tests of Jinja2"), "{hint}");
    }
}
