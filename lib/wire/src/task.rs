//! Names of tasks and of their arguments: those of transformers with their aliases, those that the
//! course's notes use, and which of them are built.

use crate::{
    Failure, FailureKind,
    model::{EMBEDDED_FILE, EMBEDDED_REPO, ModelSpec},
    pipeline::{EncoderTask, PipelineTask},
    text2text::{DEFAULT_PAIRS, Text2TextTask},
};

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

impl PipelineTask {
    /// transformers' name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextGeneration => "text-generation",
            Self::Encoder(task) => task.name(),
            Self::Text2Text(task) => task.name(),
        }
    }

    /// All of them, in the order in which they are listed.
    pub fn all() -> impl Iterator<Item = Self> {
        let encoders = EncoderTask::ALL.into_iter().map(Self::Encoder);
        let others = Text2TextTask::ALL.into_iter().map(Self::Text2Text);
        std::iter::once(Self::TextGeneration)
            .chain(encoders)
            .chain(others)
    }

    /// The task of a name.
    ///
    /// # Errors
    /// There is no such task, or none that is built; the hint has those that are.
    pub fn named(name: &str) -> Result<Self, Failure> {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        let full = alias.map_or(name, |(_, full)| full);
        if let Some(task) = Self::all().find(|task| task.name() == full) {
            return Ok(task);
        }
        if languages(name).is_some() {
            return Ok(Self::Text2Text(Text2TextTask::Translation));
        }
        if LATER.contains(&name) {
            return Err(Failure::new(
                FailureKind::Unsupported,
                format!("the task \"{name}\" is not built yet"),
            )
            .hint(format!("tasks that are: {}", known().join(", "))));
        }
        Err(unknown(name))
    }
}

/// Arguments of all tasks that write: those of transformers' `generate`, and what its
/// `TextGenerationPipeline` and `Text2TextGenerationPipeline` have in common.
const WRITING: &[&str] = &[
    "max_new_tokens",
    "max_length",
    "min_new_tokens",
    "min_length",
    "max_time",
    "num_beams",
    "num_return_sequences",
    "length_penalty",
    "early_stopping",
    "no_repeat_ngram_size",
    "repetition_penalty",
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "bad_words_ids",
    "sequence_bias",
    "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "exponential_decay_length_penalty",
    "epsilon_cutoff",
    "eta_cutoff",
    "renormalize_logits",
    "remove_invalid_values",
    "use_cache",
    "eos_token_id",
    "pad_token_id",
    "streamer",
    "on_token",
    "seed",
    "generation_config",
    "stop_sequence",
    "stop_strings",
    "truncation",
    "clean_up_tokenization_spaces",
    "return_tensors",
    "batch_size",
];

impl ModelSpec {
    /// As a pipeline of transformers loads it: with `dtype="auto"`. A model that generates and is not
    /// quantised is left as it is, the same in memory as by `from_pretrained`.
    #[must_use]
    pub fn for_pipeline(mut self, task: PipelineTask) -> Self {
        let reads = matches!(task, PipelineTask::Encoder(_));
        self.auto_dtype = self.quantization.is_some() || reads;
        self
    }
}

impl PipelineTask {
    /// The arguments that it has.
    pub fn arguments(self) -> Vec<&'static str> {
        let own: &[&str] = match self {
            Self::TextGeneration => &[
                "return_full_text",
                "return_text",
                "continue_final_message",
                "prefix",
                "handle_long_generation",
                "add_special_tokens",
                "skip_special_tokens",
                "guidance_scale",
                "prompt_lookup_num_tokens",
                "max_matching_ngram_size",
                "assistant_model",
                "num_assistant_tokens",
                "assistant_confidence_threshold",
            ],
            Self::Text2Text(_) => &["src_lang", "tgt_lang", "decoder_start_token_id"],
            Self::Encoder(task) => return of_encoder(task).to_vec(),
        };
        [WRITING, own].concat()
    }
}

fn of_encoder(task: EncoderTask) -> &'static [&'static str] {
    match task {
        EncoderTask::TextClassification => &[
            "top_k",
            "return_all_scores",
            "function_to_apply",
            "truncation",
            "batch_size",
        ],
        EncoderTask::TokenClassification => &[
            "aggregation_strategy",
            "grouped_entities",
            "ignore_subwords",
            "ignore_labels",
            "stride",
            "delimiter",
            "batch_size",
        ],
        EncoderTask::QuestionAnswering => &[
            "top_k",
            "doc_stride",
            "max_answer_len",
            "max_seq_len",
            "max_question_len",
            "handle_impossible_answer",
            "align_to_words",
            "padding",
            "batch_size",
        ],
        EncoderTask::ZeroShotClassification => &[
            "candidate_labels",
            "hypothesis_template",
            "multi_label",
            "batch_size",
        ],
        EncoderTask::FillMask => &["top_k", "targets", "truncation", "batch_size"],
        EncoderTask::FeatureExtraction => &[
            "truncation",
            "max_length",
            "add_special_tokens",
            "prompt_name",
            "prompt",
            "batch_size",
        ],
    }
}

/// The languages of `translation_en_to_fr`.
pub fn languages(name: &str) -> Option<(String, String)> {
    let (from, to) = name.strip_prefix("translation_")?.split_once("_to_")?;
    let is_one = |name: &str| !name.is_empty() && !name.contains('_');
    (is_one(from) && is_one(to)).then(|| (from.to_owned(), to.to_owned()))
}

/// Names that a pipeline is built for: those of transformers, then the others.
pub fn known() -> Vec<&'static str> {
    let aliases = ALIASES.iter().map(|(alias, _)| *alias);
    let names = PipelineTask::all().map(PipelineTask::name);
    let mut names: Vec<&str> = names.chain(aliases).collect();
    let translation = names.iter().position(|name| *name == "translation");
    names.insert(translation.map_or(0, |at| at + 1), "translation_XX_to_YY");
    names
}

/// The same with the translations that have a default model.
pub fn offered() -> Vec<String> {
    let translations = DEFAULT_PAIRS.map(|(from, to)| format!("translation_{from}_to_{to}"));
    let known = known().into_iter().filter(|name| !name.contains("_XX_"));
    known.map(str::to_owned).chain(translations).collect()
}

fn unknown(name: &str) -> Failure {
    let known = known();
    let nearest = nearest(name, &known);
    let list = known.join(", ");
    let hint = match nearest {
        Some(nearest) => format!("did you mean \"{nearest}\"? Known tasks: {list}"),
        None => format!("known tasks: {list}"),
    };
    Failure::new(
        FailureKind::InvalidArgument,
        format!("there is no pipeline for the task \"{name}\""),
    )
    .hint(hint)
}

/// What is told where transformers' default model is taken, as it says it.
pub fn default_notice(name: &str, revision: &str) -> String {
    format!(
        "No model was supplied, defaulted to {name} and revision {revision} \
         (https://huggingface.co/{name}).\nUsing a pipeline without specifying a model name and revision in \
         production is not recommended."
    )
}

/// What is told where the default of text generation is taken.
pub fn embedded_notice() -> String {
    format!(
        "No model was supplied, defaulted to {EMBEDDED_REPO} ({EMBEDDED_FILE}), Warmcell's embedded model; \
         transformers' default would be openai-community/gpt2."
    )
}

/// What is told where the embedded sentiment model stands in for the default.
pub fn stand_in_notice(name: &str, stand_in: &str) -> String {
    format!(
        "{name} is not on this machine, and the hub is not reached: using {stand_in}, Warmcell's embedded \
         model, in its place. Its scores are not the default's, and it reads English only."
    )
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
        let error = PipelineTask::named(name).expect_err("is no task that is built");
        error.hint.expect("there is one")
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
        let sentiment = PipelineTask::named("sentiment-analysis").expect("is an alias");
        assert_eq!(sentiment.name(), "text-classification");
        for name in ["image-generation", "text-to-image", "vqa"] {
            assert!(
                hint(name).starts_with("tasks that are: text-generation, "),
                "{name}"
            );
        }
        assert!(hint("translation_to").starts_with("did you mean \"translation\"?"));
        let translation = PipelineTask::named("translation_en_to_fr").expect("is a translation");
        assert_eq!(translation.name(), "translation");
        let pair = ("en".to_owned(), "fr".to_owned());
        assert_eq!(languages("translation_en_to_fr"), Some(pair));
    }
}
