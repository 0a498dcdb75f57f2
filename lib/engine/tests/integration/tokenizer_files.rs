//! Tokenizers beyond their ids: vocabularies in GGUF files by llama.cpp's rules, broken files, files
//! that change, saving, what goes with a model, and the spans that a token table shows.

use std::{fs, path::Path};

use engine::{
    Cancel, Service,
    hub::{Layout, ModelFiles},
    tokenizer::Tokenizer,
};
use wire::{
    Failure, FailureKind,
    host::{Event, Request, Response, UnloadTarget},
    model::{ModelSource, TokenizerInfo},
    tokenize::{EncodeOptions, NewToken, TextInput, TokenizerAnswer, TokenizerCall, TokenizerSpec},
};

use crate::support::{ask, assert_told, embedded, fixture, ids, json};

fn load(layout: Layout) -> Result<Tokenizer, Failure> {
    Tokenizer::load(&ModelFiles {
        name: "small".into(),
        layout,
    })
}

fn kind(name: &str) -> std::path::PathBuf {
    fixture("tokenizers").join(name)
}

/// Copies a kind's files, to change them.
fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(kind(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn source(folder: &Path) -> ModelSource {
    ModelSource::new(folder.canonicalize().unwrap().display().to_string())
}

/// `llama-bpe` and `tekken` (Mistral Nemo) begin with their token although the file does not say so,
/// `gpt-4o` (Phi-4-mini) and `dbrx` (Phi-4) do not; a file that names no pre-tokenizer is cut by
/// llama.cpp's default rules, with a notice.
#[test]
fn gguf_vocabularies_follow_llama_cpp() {
    let texts = json("tokenizers/texts.json");
    let kinds = [
        ("gguf_llama_bpe", false),
        ("gguf_unnamed", true),
        ("gguf_gpt_4o", false),
        ("gguf_tekken", false),
        ("gguf_dbrx", false),
    ];
    for (name, is_told) in kinds {
        let path = kind(&format!("{name}.gguf"));
        let request = Request::LoadTokenizer(source(&path));
        let (answer, events) = ask(&Service::new(), request);
        assert!(answer.is_ok(), "{answer:?}");
        let notices = events
            .iter()
            .filter(|event| matches!(event, Event::Notice(_)));
        assert_eq!(notices.count() == 1, is_told, "{name}: {events:?}");
        let tokenizer = load(Layout::Gguf(path)).unwrap();
        let wanted = json(&format!("tokenizers/{name}.json"));
        for (text, wanted) in texts["texts"]
            .as_array()
            .unwrap()
            .iter()
            .zip(wanted.as_array().unwrap())
        {
            let encoding = tokenizer.encode(text.as_str().unwrap(), true).unwrap();
            let got: Vec<u32> = encoding.tokens.iter().map(|token| token.id).collect();
            // The token is found in a text where the script's tokenizer has none.
            if !text.as_str().unwrap().contains("<|") {
                assert_eq!(got, ids(wanted), "{name}: {text}");
            }
        }
    }
}

#[test]
fn broken_files_are_named() {
    let cases: [(&str, &str, &[u8]); 7] = [
        ("json_gpt2", "tokenizer.json", br#"{"a": "\ud800"}"#),
        ("json_gpt2", "tokenizer.json", b"null"),
        ("json_gpt2", "tokenizer.json", b"[]"),
        (
            "json_gpt2",
            "tokenizer_config.json",
            br#"{"eos_token": "\udc00\ud800"}"#,
        ),
        ("t5", "spiece.model", b"no model"),
        ("gpt2", "merges.txt", b"#version: 0.2\na b c\n"),
        ("marian", "vocab.json", b"[]"),
    ];
    for (name, file, bytes) in cases {
        let folder = copy(name);
        fs::write(folder.path().join(file), bytes).unwrap();
        let Err(failure) = load(Layout::Folder(folder.path().to_owned())) else {
            panic!("{file} is read");
        };
        assert_eq!(failure.kind, FailureKind::Corrupt, "{failure}");
        assert!(failure.message.contains(file), "{failure}");
        assert!(
            failure.hint.is_some() || file != "tokenizer.json",
            "{failure}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let Err(failure) = load(Layout::Folder(folder.path().to_owned())) else {
        panic!("nothing is read");
    };
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
    fs::copy(kind("t5/spiece.model"), folder.path().join("spiece.model")).unwrap();
    let Err(failure) = load(Layout::Folder(folder.path().to_owned())) else {
        panic!("a class is guessed");
    };
    assert_eq!(failure.kind, FailureKind::Unsupported, "{failure}");
    assert!(failure.message.contains("spiece.model"), "{failure}");
}

fn info(service: &Service, source: &ModelSource) -> TokenizerInfo {
    match ask(service, Request::LoadTokenizer(source.clone()))
        .0
        .unwrap()
    {
        Response::Tokenizer(info) => *info,
        other => panic!("{other:?}"),
    }
}

fn encode(service: &Service, spec: TokenizerSpec, text: &str) -> Result<Vec<u32>, Failure> {
    let call = TokenizerCall::Tokens {
        inputs: vec![TextInput::from(text)],
        options: EncodeOptions::default(),
    };
    let request = Request::Tokenize {
        tokenizer: spec,
        call,
    };
    match ask(service, request).0? {
        Response::Tokenize(TokenizerAnswer::Encodings(encodings)) => {
            Ok(encodings[0].tokens.iter().map(|token| token.id).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// A tokenizer stayed as it was first read until the host ended.
#[test]
fn changed_files_are_read_again() {
    let service = Service::new();
    let folder = copy("bert_cased");
    let source = source(folder.path());
    let before = info(&service, &source);
    let handle = TokenizerSpec {
        fingerprint: Some(before.fingerprint.clone()),
        ..source.clone().into()
    };
    let old = encode(&service, handle.clone(), "the dog").unwrap();
    let vocab = folder.path().join("vocab.txt");
    let text = fs::read_to_string(&vocab).unwrap();
    fs::write(&vocab, format!("{text}thedog\n")).unwrap();
    let failure = encode(&service, handle, "the dog").unwrap_err();
    assert!(failure.message.contains("changed"), "{failure}");
    let after = info(&service, &source);
    assert_ne!(before.fingerprint, after.fingerprint);
    assert_eq!(encode(&service, source.into(), "the dog").unwrap(), old);
}

#[test]
fn added_tokens_are_the_handles_own() {
    let service = Service::new();
    let source = source(&kind("qwen2"));
    let own = info(&service, &source);
    let with = TokenizerSpec {
        added: vec![NewToken::new("[NEW]")],
        fingerprint: Some(own.fingerprint),
        ..source.clone().into()
    };
    for _ in 0..2 {
        assert_eq!(
            encode(&service, with.clone(), "[NEW]").unwrap(),
            [own.vocab_size]
        );
    }
    assert!(encode(&service, source.into(), "[NEW]").unwrap().len() > 1);
}

/// A tokenizer outlived `unload`.
#[test]
fn tokenizers_are_let_go() {
    let service = Service::new();
    let folder = copy("gpt2");
    let source = source(folder.path());
    let first = info(&service, &source);
    fs::remove_dir_all(folder.path()).unwrap();
    let request = Request::Unload(UnloadTarget::Name(source.repo.clone()));
    ask(&service, request).0.unwrap();
    let (answer, _) = ask(&service, Request::LoadTokenizer(source));
    assert!(answer.is_err(), "{first:?} is still there");
}

#[test]
fn a_saved_tokenizer_is_the_same() {
    for name in [
        "bert_uncased",
        "gpt2_bos",
        "clip",
        "llama_new",
        "t5",
        "marian",
        "speecht5",
    ] {
        let tokenizer = load(Layout::Folder(kind(name))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let written = tokenizer.save(folder.path()).unwrap();
        assert!(!written.is_empty());
        let again = load(Layout::Folder(folder.path().to_owned())).unwrap();
        let [ours, theirs] = [&tokenizer, &again].map(Tokenizer::info);
        assert_eq!(ours.fingerprint, theirs.fingerprint, "{name}");
        assert_eq!(ours.class, theirs.class, "{name}");
        assert_eq!(ours.special_token_ids, theirs.special_token_ids, "{name}");
        for text in json("tokenizers/texts.json")["texts"].as_array().unwrap() {
            let text = text.as_str().unwrap();
            let [ours, theirs] = [&tokenizer, &again].map(|of| of.encode(text, true).unwrap());
            assert_eq!(ours, theirs, "{name}: {text:?}");
        }
    }
}

/// One that was added to a tokenizer of Python's was an ordinary one when it was read again.
#[test]
fn an_added_special_token_stays_special() {
    for name in ["marian", "speecht5", "m2m100", "gpt2"] {
        let own = load(Layout::Folder(kind(name))).unwrap();
        let extended = own.with_added(&[NewToken::special("<ent>")]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        extended.save(folder.path()).unwrap();
        let again = load(Layout::Folder(folder.path().to_owned())).unwrap();
        let [ours, theirs] = [&extended, &again].map(|of| {
            let tokens = of.encode("Hello <ent>!", true).unwrap().tokens;
            let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
            (of.decode(&ids, true).unwrap(), ids)
        });
        assert_eq!(ours, theirs, "{name}");
        assert!(!ours.0.contains("<ent>"), "{name}: {}", ours.0);
        let listed = &extended.info().additional_special_tokens;
        assert_eq!(listed, &again.info().additional_special_tokens, "{name}");
    }
}

/// What transformers leaves to an exception of Python's, or a call without `suffix_first` would not tell.
#[test]
fn what_cannot_be_filled_in_is_told() {
    let first = EncodeOptions {
        suffix_first: true,
        ..EncodeOptions::default()
    };
    let own = load(Layout::Folder(kind("code_llama"))).unwrap();
    let folder = copy("code_llama");
    let path = folder.path().join("tokenizer_config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["middle_token"] = serde_json::Value::Null;
    fs::write(path, config.to_string()).unwrap();
    let markless = load(Layout::Folder(folder.path().to_owned())).unwrap();
    let other = load(Layout::Folder(kind("llama"))).unwrap();
    let gap = TextInput::from("one <FILL_ME> two");
    let twice = "one <FILL_ME> two <FILL_ME>".into();
    let list = own.encode_batch(std::slice::from_ref(&gap), &first, &Cancel::new());
    for (failure, what, hint) in [
        (
            markless.encode_input(&gap, &first).unwrap_err(),
            "it has no `middle_token`",
            "null",
        ),
        (
            own.encode_input(&twice, &first).unwrap_err(),
            "`<FILL_ME>` 2 times",
            "as a pair",
        ),
        (
            list.unwrap_err(),
            "`suffix_first` is for one text",
            "encode_with",
        ),
    ] {
        assert_told(&failure, FailureKind::InvalidArgument, what, hint);
    }
    let failure = other.encode_input(&gap, &first).unwrap_err();
    assert!(
        failure.message.ends_with("`small` is a `LlamaTokenizer`"),
        "{failure}"
    );
    // Without a gap nothing is missing.
    assert!(markless.encode("one", true).is_ok());
}

/// The blank before a word is the word's in a token table, although transformers' offsets leave it
/// out.
#[test]
fn spans_to_look_at_cover_the_text() {
    let roberta = load(Layout::Folder(kind("roberta"))).unwrap();
    let service = Service::new();
    let text = "The  capital of France";
    let encoding = roberta.encode(text, false).unwrap();
    let shown: String = encoding
        .tokens
        .iter()
        .map(|token| &text[token.bytes.0 as usize..token.bytes.1 as usize])
        .collect();
    assert_eq!(shown, text);
    let call = TokenizerCall::Tokens {
        inputs: vec![text.into()],
        options: EncodeOptions::default(),
    };
    let request = Request::Tokenize {
        tokenizer: embedded().into(),
        call,
    };
    let Response::Tokenize(TokenizerAnswer::Encodings(encodings)) =
        ask(&service, request).0.unwrap()
    else {
        panic!("no encodings");
    };
    let of_word = |word: &str| encodings[0].tokens.iter().find(|token| token.piece == word);
    assert_eq!(of_word("Ġof").unwrap().bytes, (12, 15));
}
