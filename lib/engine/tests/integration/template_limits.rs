//! A chat template comes with a repository and is a program: whatever it is, it ends soon, and takes
//! little.

use std::time::{Duration, Instant};

use engine::template::render;
use serde_json::{Map, Value, json};
use wire::FailureKind;

use crate::unsafe_allocations::peak_of;

/// The time that an endless template may take, ten times over for a busy machine that also runs the
/// other tests.
const LIMIT: Duration = Duration::from_secs(20);
const LITTLE: usize = 256 << 20;

fn context() -> Map<String, Value> {
    let Value::Object(context) = json!({
        "s": "x".repeat(1000),
        "messages": [{"role": "user", "content": "hi"}],
        "add_generation_prompt": true,
    }) else {
        panic!("an object")
    };
    context
}

fn is_refused(template: &str) {
    let started = Instant::now();
    let (result, peak) = peak_of(|| render(template, context()));
    let took = started.elapsed();
    let shown: String = template.chars().take(120).collect();
    let failure = result.map(|text| text.len()).expect_err(&shown);
    assert_eq!(failure.kind, FailureKind::Template, "{shown}: {failure}");
    assert!(
        failure.message.starts_with("the chat template"),
        "{failure}"
    );
    assert!(took < LIMIT, "{shown}: {took:?}");
    assert!(peak < LITTLE, "{shown}: {peak} bytes");
}

/// Each takes what a faulty template may take: steps, time, memory, the stack.
const GREEDY: [&str; 18] = [
    "{% for a in range(100000) %}{% for b in range(100000) %}{{ a }}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% set x = messages|tojson(indent=4) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% set x = (s * 100).split('x')|length %}{% endfor %}{% endfor %}",
    "{{ range(10**9)|length }}",
    "{{ 'x' * 10**9 }}",
    "{{ ['x'] * 10**9 }}",
    "{% set n = namespace(s='x') %}{% for i in range(100) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s|length }}",
    "{% set n = namespace(s='xx') %}{% for i in range(100) %}{% set n.s = n.s|replace('x', 'xxxxxxxxx') %}{% endfor %}",
    "{% set n = namespace(s=[1]) %}{% for i in range(100) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(100) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s|tojson }}",
    "{% set n = namespace(s=[1], t=[1]) %}{% for i in range(100) %}{% set n.s = [n.s, n.s] %}{% set n.t = [n.t, n.t] %}{% endfor %}{{ n.s == n.t }}",
    "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
    "{{ ([s] * 100000)|join(s) }}",
    "{{ s.replace('', s * 1000) }}",
    "{{ s.ljust(10**9) }}",
    "{{ '%999999999d' % 3 }}",
    "{{ '{:>999999999}'.format(3) }}",
];

#[test]
fn a_template_takes_no_more_than_its_share() {
    for template in GREEDY {
        is_refused(template);
    }
}

#[test]
fn loops_without_end_do_end() {
    is_refused("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}");
    is_refused(
        "{% for i in range(100000) %}{% for j in range(100000) %}{{ i ~ j }}{% endfor %}{% endfor %}",
    );
    is_refused("{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}");
    is_refused("{%- for i in range(99999) recursive %}{{ loop(range(99999)) }}{% endfor %}");
}

#[test]
fn texts_and_lists_without_end_are_refused() {
    is_refused("{{ 'x' * 10000000000 }}");
    is_refused("{{ ('x' * 10000) * 10000000 }}");
    is_refused(
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
    );
    is_refused("{{ range(10000000000) | list | length }}");
    is_refused(
        "{% for i in range(100000) %}{% for j in range(100000) %}{{ 'x' * 1000 }}{% endfor %}{% endfor %}",
    );
    is_refused("{{ 'a'.replace('', 'b' * 100000).replace('b', 'c' * 100000) }}");
    is_refused("{{ '%10000000000d' | format(1) }}");
    is_refused("{{ 'x\ny' | indent(10000000000) }}");
    is_refused("{{ 'x'.center(10000000000) }}");
}

#[test]
fn depth_is_limited() {
    is_refused(&format!(
        "{}1{}",
        String::from("{{ (") + &"(".repeat(100_000),
        ")".repeat(100_001) + " }}"
    ));
    is_refused(&format!(
        "{{{{ {}1{} }}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    ));
    is_refused(&"{% if true %}".repeat(100_000));
    is_refused(&format!("{{{{ {}true }}}}", "not ".repeat(100_000)));
    is_refused(&format!("{{{{ {}1 }}}}", "-".repeat(100_000)));
    is_refused(&format!("{{{{ 1{} }}}}", " + 1".repeat(100_000)));
    is_refused(&format!("{{{{ s{} }}}}", ".a".repeat(100_000)));
    is_refused(&format!("{{{{ s{} }}}}", "(1, 2)".repeat(100_000)));
    is_refused(&format!("{{{{ s{} }}}}", "|upper".repeat(100_000)));
    is_refused(&format!("{{{{ {}0 }}}}", "1 if 0 else ".repeat(100_000)));
    let branches = "{% elif 0 %}".repeat(100_000);
    is_refused(&format!("{{% if 0 %}}{branches}{{% endif %}}"));
}

/// A value that holds a value that holds a value is walked when it is printed, compared or dropped.
#[test]
fn depth_that_a_template_makes_is_limited() {
    for (first, step, last) in [
        ("[]", "[n.s]", "{{ n.s }}"),
        ("[]", "[n.s]", "{{ n.s == 1 }}"),
        ("[]", "[n.s]", "{{ n.s|tojson }}"),
        ("[]", "{'a': n.s}", "{{ n.s }}"),
        ("[]", "(n.s, 1)", "{{ n.s|length }}"),
        ("[]", "dict(a=n.s)", ""),
        ("[]", "namespace(a=n.s)", "{{ n.s }}"),
        ("[1]", "n.s|map('upper')", "{{ n.s|list }}"),
        ("[1]", "n.s|reverse", "{{ n.s|list }}"),
        ("[1]", "n.s[0:1]", "{{ n.s|list }}"),
        ("[]", "n.s + [1]", ""),
        ("[]", "[1] + n.s", "{{ n.s|length }}"),
        ("{}", "dict(n.s, a=n.s)", ""),
        ("{}", "{'a': n.s}.items()", ""),
    ] {
        let template = format!(
            "{{% set n = namespace(s={first}) %}}{{% for i in range(99999) %}}{{% set n.s = {step} \
             %}}{{% endfor %}}{last}"
        );
        let result = render(&template, context());
        let refused = |failure: wire::Failure| failure.kind == FailureKind::Template;
        assert!(
            result.map_or_else(refused, |text| text.len() < 1_000_000),
            "{template}"
        );
    }
    let chain =
        "{% set g = n.g %}{% macro f() %}{{ g() }}{% endmacro %}{% set n.g = f %}".repeat(10);
    is_refused(&format!(
        "{{% set n = namespace() %}}{{% for i in range(9999) %}}{chain}{{% endfor %}}"
    ));
    let macros: Vec<String> = (1..20_000)
        .map(|i| format!("{{% macro f{i}() %}}{{{{ f{}() }}}}{{% endmacro %}}", i - 1))
        .collect();
    is_refused(&macros.concat());
    is_refused("{% set n = namespace() %}{% set n.s = n %}{{ n }}");
    is_refused("{% set n = namespace() %}{% set n.s = [n] %}{{ n.s|tojson }}");
    is_refused("{% set n = namespace() %}{% set n.s = {'a': n} %}{{ n.s == {'a': n} }}");
}

#[test]
fn a_template_reaches_no_file_and_no_other_template() {
    for template in [
        "{% include '/etc/passwd' %}",
        "{% extends 'x' %}",
        "{% import 'os' as os %}{{ os }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ lipsum.__globals__['os'].popen('id').read() }}",
    ] {
        is_refused(template);
    }
}
