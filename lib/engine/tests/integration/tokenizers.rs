//! The tokenizer of the embedded model: ids as transformers gives them with the digit split of the
//! original repository, and the streamer's cuts.

use engine::{
    Service,
    hub::{Layout, ModelFiles},
    tokenizer::{TextStreamer, Tokenizer},
};
use wire::{
    generate::StreamOptions,
    host::{Request, Response},
    tokenize::{DecodeOptions, EncodeOptions, Ids, TokenizerAnswer, TokenizerCall},
};

use crate::support::{ask, embedded, ids, json};

#[test]
fn awkward_texts_have_the_reference_ids() {
    let service = Service::new();
    let fixture = json("smollm2_tokens.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() >= 18);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let request = tokenize(TokenizerCall::Tokens {
            inputs: vec![text.into()],
            options: EncodeOptions::default(),
        });
        let Response::Tokenize(TokenizerAnswer::Encodings(encodings)) =
            ask(&service, request).0.unwrap()
        else {
            panic!("no encodings");
        };
        let got: Vec<u32> = encodings[0].tokens.iter().map(|token| token.id).collect();
        assert_eq!(got, ids(&case["ids"]), "{text:?}");
        for (name, skip) in [("decoded", false), ("decoded_skip_special", true)] {
            let request = tokenize(TokenizerCall::Decode {
                sequences: vec![Ids(got.clone())],
                options: DecodeOptions {
                    skip_special_tokens: skip,
                    ..DecodeOptions::default()
                },
            });
            let Response::Tokenize(TokenizerAnswer::Texts(texts)) =
                ask(&service, request).0.unwrap()
            else {
                panic!("no texts");
            };
            assert_eq!(texts[0], case[name].as_str().unwrap(), "{text:?}");
        }
        check_offsets(text, &encodings[0].tokens);
    }
}

fn tokenize(call: TokenizerCall) -> Request {
    Request::Tokenize {
        tokenizer: embedded().into(),
        call,
    }
}

fn check_offsets(text: &str, tokens: &[wire::text::Token]) {
    let mut covered = 0;
    for token in tokens {
        let (start, end) = (token.bytes.0 as usize, token.bytes.1 as usize);
        assert!(start <= end && end <= text.len(), "{token:?} in {text:?}");
        covered = covered.max(end);
        assert_eq!(token.special, token.piece.starts_with("<|"), "{token:?}");
    }
    assert_eq!(covered, text.len(), "{text:?} is not covered");
}

fn tiny(folder: &std::path::Path) -> Tokenizer {
    let files = ModelFiles {
        name: "tiny".into(),
        layout: Layout::Folder(folder.to_owned()),
    };
    Tokenizer::load(&files).unwrap()
}

/// A tokenizer of whole words and pieces, with what the streamer's rules tell apart.
fn word_tokenizer() -> (tempfile::TempDir, Tokenizer) {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary = serde_json::json!({"Hel": 0, "lo": 1, " wor": 2, "ld": 3, "\n": 4, "語": 5, "한": 6, " ": 7});
    let json = serde_json::json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let tokenizer = tiny(folder.path());
    (folder, tokenizer)
}

/// Words are held back until a blank follows, a line break empties everything, an ideograph goes at
/// once and hangul does not: `TextStreamer.put` of transformers 4.57.6.
#[test]
fn the_streamer_cuts_where_transformers_does() {
    let (_folder, tokenizer) = word_tokenizer();
    let options = StreamOptions {
        skip_prompt: true,
        skip_special_tokens: false,
        ..Default::default()
    };
    let mut streamer = TextStreamer::new(&tokenizer, options);
    assert_eq!(streamer.prompt(&[0, 1]).unwrap(), "");
    let pieces: Vec<String> = [0, 1, 2, 3, 4, 5, 6, 7, 0]
        .iter()
        .map(|&id| streamer.put(&[id]).unwrap())
        .collect();
    assert_eq!(
        pieces,
        ["", "", "Hello ", "", "world\n", "語", "", "한 ", ""]
    );
    assert_eq!(streamer.end().unwrap(), "Hel");
    let mut streamer = TextStreamer::new(&tokenizer, StreamOptions::default());
    assert_eq!(streamer.prompt(&[0, 1, 4]).unwrap(), "Hello\n");
}

/// What cleaning of blanks takes away later must not be counted as given out.
#[test]
fn streamed_pieces_together_are_the_decoded_text() {
    let folder = tempfile::tempdir().unwrap();
    let pieces = [
        "a", "m", "s", "re", " ", " '", "'", "n", "t", " n", " .", "?", "語", "ve", "v",
    ];
    let vocabulary: serde_json::Map<String, serde_json::Value> = pieces
        .iter()
        .zip(0..)
        .map(|(piece, id)| ((*piece).to_owned(), serde_json::Value::from(id)))
        .collect();
    let json = serde_json::json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let config = r#"{"clean_up_tokenization_spaces": true}"#;
    std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    let tokenizer = tiny(folder.path());
    let options = DecodeOptions::default();
    let count = pieces.len() as u32;
    for number in 0..count.pow(4) {
        let ids: Vec<u32> = (0..4).map(|at| number / count.pow(at) % count).collect();
        let streamed = tokenizer.decode_stream(&ids, options).unwrap();
        assert_eq!(streamed.len(), ids.len());
        let decoded = tokenizer.decode(&ids, false).unwrap();
        assert_eq!(streamed.concat(), decoded, "{ids:?}: {streamed:?}");
    }
    // Nothing is held back that nothing can change.
    let streamed = tokenizer.decode_stream(&[0, 1, 5, 3, 12], options).unwrap();
    assert_eq!(streamed, ["a", "m", "", "'re", "語"]);
}

#[test]
fn the_identity_of_a_vocabulary_follows_its_content() {
    let (folder, first) = word_tokenizer();
    let again = tiny(folder.path());
    assert_eq!(first.fingerprint(), again.fingerprint());
    let path = folder.path().join("tokenizer.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"lo\"", "\"la\"")).unwrap();
    assert_ne!(first.fingerprint(), tiny(folder.path()).fingerprint());
}

/// Merges made from scores, byte fallback, the prefix blank and the beginning-of-sequence token.
#[test]
fn a_sentence_piece_vocabulary_in_gguf_has_the_reference_ids() {
    let path = crate::support::fixture("sentence_piece.gguf");
    let files = ModelFiles {
        name: "pieces".into(),
        layout: Layout::Gguf(path),
    };
    let tokenizer = Tokenizer::load(&files).unwrap();
    let fixture = json("sentence_piece.json");
    for case in fixture["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let encoding = tokenizer.encode(text, true).unwrap();
        let got: Vec<u32> = encoding.tokens.iter().map(|token| token.id).collect();
        assert_eq!(got, ids(&case["ids"]), "{text:?}");
        assert_eq!(
            tokenizer.decode(&got, true).unwrap(),
            case["decoded"].as_str().unwrap(),
            "{text:?}"
        );
    }
}
