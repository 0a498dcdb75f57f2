//! Names of tasks: those of transformers with their aliases, those that the course's notes use, and
//! which of them are built.

use wire::{FailureKind, pipeline::EncoderTask, text2text::Text2TextTask};

use crate::{Error, Result};

/// A task that a pipeline can be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    TextGeneration,
    Encoder(EncoderTask),
    Text2Text(Text2TextTask),
}

/// Other names: `TASK_ALIASES` of transformers, and the course's.
const ALIASES: [(&str, &str); 3] = [
    ("sentiment-analysis", "text-classification"),
    ("ner", "token-classification"),
    ("qa", "question-answering"),
];

/// Tasks of transformers, and names of the course, that no pipeline is built for.
const LATER: [&str; 25] = [
    "audio-classification",
    "automatic-speech-recognition",
    "depth-estimation",
    "document-question-answering",
    "image-classification",
    "image-feature-extraction",
    "image-generation",
    "image-segmentation",
    "image-text-to-text",
    "image-to-image",
    "image-to-text",
    "keypoint-matching",
    "mask-generation",
    "object-detection",
    "table-question-answering",
    "text-to-audio",
    "text-to-image",
    "text-to-speech",
    "video-classification",
    "visual-question-answering",
    "vqa",
    "zero-shot-audio-classification",
    "zero-shot-image-classification",
    "zero-shot-object-detection",
    "speech-to-text",
];

/// A guess is none when it needs more changes than one in so many characters of the name.
const CHARACTERS_A_CHANGE: usize = 3;

impl Task {
    pub fn name(self) -> &'static str {
        match self {
            Self::TextGeneration => "text-generation",
            Self::Encoder(task) => task.name(),
            Self::Text2Text(task) => task.name(),
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let encoders = EncoderTask::ALL.into_iter().map(Self::Encoder);
        let others = Text2TextTask::ALL.into_iter().map(Self::Text2Text);
        std::iter::once(Self::TextGeneration)
            .chain(encoders)
            .chain(others)
    }

    /// The task of a name.
    pub fn named(name: &str) -> Result<Self> {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        let full = alias.map_or(name, |(_, full)| full);
        if let Some(task) = Self::all().find(|task| task.name() == full) {
            return Ok(task);
        }
        if languages(name).is_some() {
            return Ok(Self::Text2Text(Text2TextTask::Translation));
        }
        if LATER.contains(&name) {
            return Err(Error::new(
                FailureKind::Unsupported,
                format!("the task \"{name}\" is not built yet"),
            )
            .with_hint(format!("tasks that are: {}", known().join(", "))));
        }
        Err(unknown(name))
    }
}

/// The languages of `translation_en_to_fr`.
pub(super) fn languages(name: &str) -> Option<(String, String)> {
    let (from, to) = name.strip_prefix("translation_")?.split_once("_to_")?;
    let is_one = |name: &str| !name.is_empty() && !name.contains('_');
    (is_one(from) && is_one(to)).then(|| (from.to_owned(), to.to_owned()))
}

/// Names that a pipeline is built for.
fn known() -> Vec<&'static str> {
    let aliases = ALIASES.iter().map(|(alias, _)| *alias);
    let mut names: Vec<&str> = Task::all().map(Task::name).chain(aliases).collect();
    let translation = names.iter().position(|name| *name == "translation");
    names.insert(translation.map_or(0, |at| at + 1), "translation_XX_to_YY");
    names
}

fn unknown(name: &str) -> Error {
    let known = known();
    let nearest = nearest(name, &known);
    let list = known.join(", ");
    let hint = match nearest {
        Some(nearest) => format!("did you mean \"{nearest}\"? Known tasks: {list}"),
        None => format!("known tasks: {list}"),
    };
    Error::new(
        FailureKind::InvalidArgument,
        format!("there is no pipeline for the task \"{name}\""),
    )
    .with_hint(hint)
}

/// What was meant: a name that begins so, else the one that needs the fewest changes, if these are few.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = folded(name);
    let names = || known.iter().chain(&LATER).copied();
    let begins = |other: &&str| {
        let other = folded(other);
        let (short, long) = if name.len() < other.len() {
            (&name, &other)
        } else {
            (&other, &name)
        };
        short.len() > CHARACTERS_A_CHANGE && long.starts_with(short.as_str())
    };
    // Of those that begin alike, the one that has least besides.
    let changes = |other: &&str| distance(&name, &folded(other));
    let prefixed = names().filter(begins).min_by_key(changes);
    let most = name.chars().count() / CHARACTERS_A_CHANGE;
    prefixed.or_else(|| {
        let fewest = names().min_by_key(changes)?;
        (changes(&fewest) <= most.min(fewest.len() / CHARACTERS_A_CHANGE)).then_some(fewest)
    })
}

/// A name without what is easily written another way.
fn folded(name: &str) -> String {
    name.trim().to_lowercase().replace(['_', ' '], "-")
}

/// Levenshtein's distance.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, character) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 0..to.len() {
            let replaced = diagonal + usize::from(to[column] != character);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(name: &str) -> String {
        let error = Task::named(name).expect_err("is no task that is built");
        error.hint().expect("there is one").to_owned()
    }

    #[test]
    fn a_misspelt_task_is_guessed() {
        assert!(hint("text-generatoin").starts_with("did you mean \"text-generation\"?"));
        assert!(hint("sentiment-analysys").starts_with("did you mean \"sentiment-analysis\"?"));
        assert!(hint("sumarisation").starts_with("did you mean \"summarization\"?"));
        assert!(hint("make me a sandwich").starts_with("known tasks: text-generation, "));
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    /// A short name is not another one by chance, and the beginning of one is that one.
    #[test]
    fn a_guess_is_near() {
        for name in ["asr", "tts", "foo", "", "x", "question"] {
            let hint = hint(name);
            let is_list = hint.starts_with("known tasks: text-generation, ");
            assert_eq!(is_list, name != "question", "{name}: {hint}");
        }
        for (name, meant) in [
            ("sentiment", "sentiment-analysis"),
            ("zero-shot", "zero-shot-classification"),
            ("Zero_Shot_Classification", "zero-shot-classification"),
            ("TEXT_GENERATION", "text-generation"),
            ("fill mask", "fill-mask"),
            ("nerr", "ner"),
            ("summarisation", "summarization"),
            ("translate", "translation"),
            ("question", "question-answering"),
            ("text-generation-inference", "text-generation"),
            ("text-to-imgae", "text-to-image"),
        ] {
            let hint = hint(name);
            let guess = format!("did you mean \"{meant}\"?");
            assert!(hint.starts_with(&guess), "{name}: {hint}");
        }
        assert!(hint("asr").contains("translation_XX_to_YY"));
    }

    #[test]
    fn aliases_and_tasks_that_are_not_built() {
        let sentiment = Task::named("sentiment-analysis").expect("is an alias");
        assert_eq!(sentiment.name(), "text-classification");
        for name in ["image-generation", "text-to-image", "vqa"] {
            assert!(
                hint(name).starts_with("tasks that are: text-generation, "),
                "{name}"
            );
        }
        assert!(hint("translation_to").starts_with("did you mean \"translation\"?"));
        let translation = Task::named("translation_en_to_fr").expect("is a translation");
        assert_eq!(translation.name(), "translation");
        let pair = ("en".to_owned(), "fr".to_owned());
        assert_eq!(languages("translation_en_to_fr"), Some(pair));
    }
}
