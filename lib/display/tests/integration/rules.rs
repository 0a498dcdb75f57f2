//! What every rendering owes to notebooks: nothing of the user's text becomes markup, and nothing is
//! used that a sanitiser strips or a dark theme hides.

use crate::{PICTURE, renderings};

/// In every input that holds text of a user.
const ATTACK: &str = "<img src=x onerror=";

#[test]
fn no_text_of_the_user_becomes_markup() {
    let mut attacked = 0;
    for (name, bundle) in renderings() {
        let html = bundle.get("text/html").expect("has HTML");
        for image in html.split("<img ").skip(1) {
            let (_, source) = image.split_once(" src=\"").expect("has a source");
            assert!(source.starts_with(PICTURE), "{name}: {source}");
        }
        assert!(!html.contains("<script"), "{name}");
        attacked += usize::from(
            bundle
                .get("text/plain")
                .is_some_and(|text| text.contains(ATTACK)),
        );
    }
    assert!(attacked >= 6, "only {attacked} inputs try");
}

#[test]
fn only_what_survives_a_sanitiser_is_used() {
    let stripped = [
        "<style", "<svg", "<script", "var(", "hsl(", "aria-", "data-", "role=", "<iframe",
        " color:", "\"color:",
    ];
    for (name, bundle) in renderings() {
        let html = bundle.get("text/html").expect("has HTML");
        for part in stripped {
            assert!(!html.contains(part), "{name} uses {part}");
        }
    }
}

/// A tag left open would swallow the rest of the page.
#[test]
fn every_tag_is_closed() {
    for (name, bundle) in renderings() {
        let html = bundle.get("text/html").expect("has HTML");
        let mut open = Vec::new();
        for tag in html.split('<').skip(1) {
            let tag = tag.split(['>', ' ']).next().unwrap_or_default();
            match tag.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop(), Some(closed), "{name}"),
                // Void: it has no end.
                None if matches!(tag, "img" | "wbr") => {}
                None => open.push(tag),
            }
        }
        assert!(open.is_empty(), "{name} leaves {open:?} open");
    }
}

#[test]
fn stripped_of_markup_the_tokens_still_read() {
    let (_, bundle) = renderings()
        .into_iter()
        .find(|(name, _)| name == "tokens-plain")
        .expect("is there");
    let html = bundle.get("text/html").expect("has HTML");
    let mut text = String::new();
    let mut is_tag = false;
    for character in html.chars() {
        match character {
            '<' => is_tag = true,
            '>' => is_tag = false,
            _ if !is_tag => text.push(character),
            _ => {}
        }
    }
    assert!(text.contains("Hello│·LL│M"), "{text}");
}

#[test]
fn a_long_input_is_folded_and_its_table_bounded() {
    let text = "ab ".repeat(5000);
    let tokens = (0..5000u32).map(|index| wire::text::Token {
        id: index,
        piece: "ab".to_owned(),
        bytes: (index * 3, index * 3 + 3),
        special: false,
    });
    let encoding = wire::text::Encoding {
        text: text.clone(),
        tokens: tokens.collect(),
        fingerprint: String::new(),
    };
    let bundle = display::RichDisplay::bundle(&encoding);
    let html = bundle.get("text/html").expect("has HTML");
    assert!(html.contains("<details><summary>Tokens"), "folded");
    assert!(html.contains("… and 4100 more"), "bounded");
    assert!(html.len() < 1_000_000, "{} bytes", html.len());
}

/// What truncation has left out is not shown, and of two texts each token is of its own, with types or
/// without them.
#[test]
fn a_row_of_a_batch_shows_what_was_encoded() {
    let text = "one two three";
    let tokens = |offsets: &[(u32, u32)]| wire::tokenize::EncodedRow {
        input_ids: vec![7; offsets.len()],
        attention_mask: vec![1; offsets.len()],
        byte_starts: offsets.iter().map(|offset| offset.0).collect(),
        byte_ends: offsets.iter().map(|offset| offset.1).collect(),
        ..Default::default()
    };
    let shown = |pair: Option<&str>, offsets: &[(u32, u32)]| {
        let batch = display::EncodedBatch {
            encoded: &wire::tokenize::BatchEncoding {
                rows: vec![tokens(offsets)],
                fingerprint: String::new(),
            },
            inputs: &[wire::tokenize::TextInput {
                text: text.to_owned(),
                pair: pair.map(str::to_owned),
            }],
            special: &std::iter::once((7, "</s>".to_owned())).collect(),
        };
        let bundle = display::RichDisplay::bundle(&batch);
        let text = bundle.get("text/plain").expect("has text");
        text.lines().nth(1).expect("has a row").to_owned()
    };
    assert_eq!(shown(None, &[(4, 7), (8, 10)]), "0  two│th");
    assert_eq!(shown(Some("four"), &[(0, 3), (0, 4)]), "0  one│four");
    assert_eq!(
        shown(Some("a four"), &[(0, 3), (0, 0), (2, 6), (0, 0)]),
        "0  one│[</s>]│four│[</s>]"
    );
    // Wrong ones must not take the cell down.
    for offsets in [(0, 99), (5, 2), (98, 99)] {
        shown(Some("한"), &[offsets, offsets, (1, 2)]);
    }
}

/// Offsets come from another process: a wrong one must not take the cell down.
#[test]
fn wrong_offsets_do_not_panic() {
    for bytes in [(0, 99), (5, 2), (1, 2), (99, 100)] {
        let tokens = vec![
            wire::text::Token {
                id: 1,
                piece: "한".to_owned(),
                bytes,
                special: false
            };
            3
        ];
        let encoding = wire::text::Encoding {
            text: "한글".to_owned(),
            tokens,
            fingerprint: String::new(),
        };
        assert!(
            display::RichDisplay::bundle(&encoding)
                .get("text/html")
                .is_some()
        );
        let chat = wire::text::RenderedChat {
            messages: vec![wire::text::ChatMessage::new("user", "글")],
            text: encoding.text.clone(),
            encoding,
            contents: vec![wire::text::ContentSpan { message: 0, bytes }],
            header: Some(bytes),
            generation: Some(vec![bytes]),
            ..Default::default()
        };
        assert!(
            display::RichDisplay::bundle(&chat)
                .get("text/html")
                .is_some()
        );
    }
}

/// What goes on from a text stays as it is, an answer to a conversation is Markdown, by itself and in a table:
/// it stood there with its fences, where a streamer had shown the same as a page.
#[test]
fn answers_are_markdown_and_continued_texts_are_not() {
    let (_, bundle) = renderings()
        .into_iter()
        .find(|(name, _)| name == "sequences-prompts")
        .expect("is there");
    let html = bundle.get("text/html").expect("has HTML");
    assert!(html.contains(">1. Bananas\n2. Oranges\n3. &lt;Grapes&gt;</div>"));
    let input = include_str!("inputs/sequences-prompts.json");
    let all: Vec<wire::generate::Generated> = serde_json::from_str(input).expect("are sequences");
    for all in [&all[..], &all[..1]] {
        let sequences = display::Sequences {
            all,
            are_answers: true,
        };
        let bundle = display::RichDisplay::bundle(&sequences);
        let html = bundle.get("text/html").expect("has HTML");
        assert!(html.contains("<ol>\n<li>Bananas</li>"), "{html}");
        assert!(!html.contains("<Grapes>"), "{html}");
    }
}

/// Pages have `<pre>` without `<code>` in letters of any width, and break its words anywhere.
#[test]
fn what_is_preformatted_says_how() {
    for (name, bundle) in renderings() {
        let html = bundle.get("text/html").expect("has HTML");
        assert!(!html.contains("<pre>"), "{name}");
        for part in html.split("<pre ").skip(1) {
            assert!(part.contains("word-break: normal") && part.contains("font-family: monospace"));
        }
        // The lines of a caption end where its table does, however narrow that is.
        assert!(!html.contains("<caption"), "{name}");
    }
}
