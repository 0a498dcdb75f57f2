//! Tab within a string of Rust: models by name, those in memory first; tasks of pipelines; files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ::host::client;
use display::units;
use jupyter::{Completion, Completions};
use ra_ap_syntax::{Edition, NodeOrToken, SourceFile, SyntaxKind};
use wire::{
    embedded::{Embedded, FETCHED, SENTENCE_ENCODER, SENTIMENT_REPO},
    task,
};

use super::{Assistant, hub_folders};

/// Calls whose text is a model.
const MODELS: [&str; 4] = ["from_pretrained", "model", "tokenizer", "unload"];
/// Calls whose text is a task.
const TASKS: [&str; 2] = ["pipeline", "pipeline_with"];
/// A folder with more is no place to look around in.
const MOST_FILES: usize = 500;

/// What could stand at the cursor, when it is within a string; `None` when it is not.
pub fn complete(assistant: &Assistant, code: &str, cursor: usize) -> Option<Completions> {
    let within = Within::of(&code[..cursor])?;
    let typed = &code[within.start..cursor];
    let is_path = typed.starts_with(['.', '/', '~']);
    let matches = if TASKS.contains(&within.call.as_str()) {
        tasks(typed)
    } else if MODELS.contains(&within.call.as_str()) && !is_path {
        models(assistant, typed)
    } else {
        files(typed, &assistant.place.working_dir)
    };
    Some(Completions {
        matches,
        start: within.start,
        end: cursor,
    })
}

/// A string that has begun and not ended.
#[derive(Debug, PartialEq)]
struct Within {
    /// The byte behind its quote.
    start: usize,
    /// The name of the call that it is an argument of.
    call: String,
}

impl Within {
    /// The string at whose inside the code ends.
    fn of(code: &str) -> Option<Self> {
        let parse = SourceFile::parse(code, Edition::Edition2024);
        let tokens = parse.syntax_node().descendants_with_tokens();
        let mut tokens = tokens
            .filter_map(NodeOrToken::into_token)
            .filter(|token| !matches!(token.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT));
        let mut before = [const { None }; 2];
        let mut last = None;
        for token in tokens.by_ref() {
            before.rotate_left(1);
            before[1] = last.replace(token);
        }
        let last = last.filter(|token| token.kind() == SyntaxKind::STRING)?;
        let text = last.text();
        // `"a\"` has not ended, `"a\\"` has.
        let escapes = text.trim_end_matches('"').chars().rev();
        let is_escaped = escapes.take_while(|&c| c == '\\').count() % 2 == 1;
        let has_ended = text.len() > 1 && text.ends_with('"') && !is_escaped;
        if has_ended || !text.starts_with('"') {
            return None;
        }
        let [name, bracket] = before;
        let is_call = bracket.is_some_and(|token| token.kind() == SyntaxKind::L_PAREN);
        let call = name.filter(|token| is_call && token.kind() == SyntaxKind::IDENT);
        Some(Self {
            start: usize::from(last.text_range().start()) + 1,
            call: call.map_or(String::new(), |token| token.text().to_owned()),
        })
    }
}

fn tasks(typed: &str) -> Vec<Completion> {
    let fitting = task::offered().into_iter();
    fitting
        .filter(|task| task.starts_with(typed))
        .map(|task| Completion {
            text: task,
            kind: Some("task".to_owned()),
            signature: None,
        })
        .collect()
}

fn models(assistant: &Assistant, typed: &str) -> Vec<Completion> {
    let completion = |(text, signature)| Completion {
        text,
        kind: Some("model".to_owned()),
        signature: Some(signature),
    };
    let known = known_models(assistant).into_iter();
    known
        .filter(|(name, _)| fits(name, typed))
        .map(completion)
        .collect()
}

/// The models that are at hand, with where and how large they are: those in memory, those that the set-up
/// has brought, those in the hub's cache.
pub(super) fn known_models(assistant: &Assistant) -> Vec<(String, String)> {
    let status = client::status(&assistant.place.host_socket).ok().flatten();
    let resident = status.map(|status| status.models).unwrap_or_default();
    let mut known: Vec<(String, String)> = resident
        .into_iter()
        .map(|one| {
            let size = units::bytes(one.info.bytes);
            (one.info.name, format!("in memory, {size}"))
        })
        .collect();
    known.extend(installed());
    let variables = assistant.environment.all();
    if let Some(cache) = hub_folders::cache(&|name| variables.get(name).cloned()) {
        known.extend(cached(&cache));
    }
    let mut seen = std::collections::HashSet::new();
    known.retain(|(name, _)| seen.insert(name.clone()));
    known
}

/// What the set-up brings. The sentiment model is a head on the encoder, and takes what that takes.
fn installed() -> impl Iterator<Item = (String, String)> {
    let size = |one: &Embedded| one.files.iter().map(|file| file.bytes).sum();
    let fetched = FETCHED.iter().map(move |one| (one.repo, size(one)));
    fetched
        .chain([(SENTIMENT_REPO, size(&SENTENCE_ENCODER))])
        .map(|(name, bytes): (&str, u64)| {
            (
                name.to_owned(),
                format!("installed, {}", units::bytes(bytes)),
            )
        })
}

/// By its beginning, or by that of the part behind its owner.
pub(super) fn fits(name: &str, typed: &str) -> bool {
    let typed = typed.to_lowercase();
    let name = name.to_lowercase();
    let own = name.split_once('/').map_or("", |(_, own)| own);
    name.starts_with(&typed) || own.starts_with(&typed)
}

/// Models in the hub's cache, with what their files take.
fn cached(cache: &Path) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(cache) else {
        return Vec::new();
    };
    let mut found: Vec<(String, String)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let name = name.strip_prefix("models--")?.replacen("--", "/", 1);
            let blobs = fs::read_dir(entry.path().join("blobs")).ok()?.flatten();
            let bytes = blobs.filter_map(|blob| Some(blob.metadata().ok()?.len()));
            let size = units::bytes(bytes.sum());
            Some((name, format!("downloaded, {size}")))
        })
        .collect();
    found.sort();
    found
}

/// Files and folders that begin so.
pub(super) fn files(typed: &str, working_dir: &Path) -> Vec<Completion> {
    let (folder, name) = typed
        .rsplit_once('/')
        .map_or(("", typed), |(folder, name)| {
            (&typed[..=folder.len()], name)
        });
    let looked_at = match folder.strip_prefix("~/") {
        Some(rest) => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(rest),
        None => working_dir.join(folder),
    };
    let Ok(entries) = fs::read_dir(looked_at) else {
        return Vec::new();
    };
    let mut found: Vec<(String, bool)> = entries
        .flatten()
        .take(MOST_FILES)
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path().is_dir())))
        // Hidden ones when they are asked for.
        .filter(|(entry, _)| {
            entry.starts_with(name) && (!entry.starts_with('.') || name.starts_with('.'))
        })
        .collect();
    found.sort();
    let completion = |(entry, is_folder): (String, bool)| Completion {
        text: format!("{folder}{entry}{}", if is_folder { "/" } else { "" }),
        kind: Some(if is_folder { "folder" } else { "file" }.to_owned()),
        signature: None,
    };
    found.into_iter().map(completion).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_that_has_begun_is_found_with_its_call() {
        let within = |code: &str| Within::of(code).map(|found| (found.start, found.call));
        let call = |code: &str, name: &str| {
            Some((code.rfind('"').map_or(0, |at| at + 1), name.to_owned()))
        };
        for (code, name) in [
            ("let m = AutoModel::from_pretrained(\"Qu", "from_pretrained"),
            ("pipeline_with(\"ner\").model(\"", "model"),
            ("let x = 1;\npipeline(\"senti", "pipeline"),
            ("// a \" quote\nlet p = \"./no", ""),
            ("std::fs::read_to_string(\"Car", "read_to_string"),
        ] {
            assert_eq!(within(code), call(code, name), "{code}");
        }
        for code in [
            "pipeline(\"ner\")",
            "let x = 'a",
            "x.len",
            "\"done\\\\\"",
            "// \"a",
        ] {
            assert_eq!(within(code), None, "{code}");
        }
    }

    #[test]
    fn a_model_is_found_by_its_own_name_too() {
        assert!(fits("Qwen/Qwen3-4B", "qwen3"));
        assert!(fits("Qwen/Qwen3-4B", "Qwen/"));
        assert!(!fits("Qwen/Qwen3-4B", "4B"));
    }

    #[test]
    fn files_are_listed_below_what_is_typed() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("data")).expect("is made");
        fs::write(folder.path().join("data/notes.txt"), "").expect("is written");
        fs::write(folder.path().join(".hidden"), "").expect("is written");
        let texts = |typed: &str| -> Vec<String> {
            files(typed, folder.path())
                .into_iter()
                .map(|found| found.text)
                .collect()
        };
        assert_eq!(texts(""), ["data/"]);
        assert_eq!(texts("./da"), ["./data/"]);
        assert_eq!(texts("data/n"), ["data/notes.txt"]);
        assert_eq!(texts(".h"), [".hidden"]);
        assert_eq!(texts("nowhere/"), [""; 0]);
    }

    #[test]
    fn downloads_have_their_sizes() {
        let cache = tempfile::tempdir().expect("a folder");
        let blobs = cache.path().join("models--Qwen--Qwen3-4B/blobs");
        fs::create_dir_all(&blobs).expect("is made");
        fs::write(blobs.join("a"), [0; 2000]).expect("is written");
        assert_eq!(
            cached(cache.path()),
            [(
                "Qwen/Qwen3-4B".to_owned(),
                format!("downloaded, {}", units::bytes(2000))
            )]
        );
    }
}
