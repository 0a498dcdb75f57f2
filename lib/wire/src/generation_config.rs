//! `GenerationConfig`: the fields of transformers 4.57 that decide how a model is continued, as a
//! request, a `generation_config.json` and a user's own configuration have them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::generate::Prompt;

macro_rules! generation_config {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// How to continue a prompt. What is `None` comes from the next of these that has it: what the
        /// call says, the user's own configuration, the model's `generation_config.json`, transformers'
        /// defaults.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct GenerationConfig {
            $($(#[$doc])* pub $name: Option<$type>,)*
        }

        impl GenerationConfig {
            /// These fields, and the other's where these are not set.
            #[must_use]
            pub fn or(self, other: &Self) -> Self {
                Self {
                    $($name: self.$name.or_else(|| other.$name.clone()),)*
                }
            }
        }
    };
}

generation_config! {
    /// Most tokens to add.
    max_new_tokens: u32,
    /// Most tokens in all; `max_new_tokens` goes before it.
    max_length: u32,
    /// Fewest tokens to add before an end-of-sequence token may come.
    min_new_tokens: u32,
    /// Fewest tokens in all before an end-of-sequence token may come.
    min_length: u32,
    /// Seconds after which no further token is begun.
    max_time: f64,
    /// Texts that end the generation when they are completed.
    #[serde(deserialize_with = "one_or_many")]
    stop_strings: Vec<String>,

    /// Draw from the distribution instead of taking the likeliest token.
    do_sample: bool,
    /// Sequences that are followed at once; 1 is no beam search.
    num_beams: u32,
    /// When a beam search ends.
    early_stopping: EarlyStopping,
    /// Exponent of the length by which a finished beam's score is divided.
    length_penalty: f64,
    /// Sequences to give for each prompt.
    num_return_sequences: u32,
    /// Whether to start from the keys and values that an earlier turn left.
    use_cache: bool,

    /// Divides the logits; above 0.
    temperature: f64,
    /// Keep this many likeliest tokens; 0 keeps all.
    top_k: u32,
    /// Keep the likeliest tokens up to this probability mass, in [0, 1].
    top_p: f64,
    /// Keep tokens at least this times as likely as the likeliest, in [0, 1].
    min_p: f64,
    /// Keep the tokens whose surprise is nearest to the expected one, up to this probability mass.
    typical_p: f64,
    /// Keep tokens at least this likely; only within (0, 1).
    epsilon_cutoff: f64,
    /// The same with a bound that falls where the distribution is flat; only within (0, 1).
    eta_cutoff: f64,

    /// Divides (or multiplies) the logits of tokens that were seen; 1 is off.
    repetition_penalty: f64,
    /// Multiplies (or divides) the logits of tokens of the prompt; 1 is off.
    encoder_repetition_penalty: f64,
    /// No run of this many tokens comes twice; 0 is off.
    no_repeat_ngram_size: u32,
    /// No run of this many tokens of the prompt comes again; 0 is off.
    encoder_no_repeat_ngram_size: u32,
    /// Runs of tokens that must not come.
    bad_words_ids: Vec<Vec<u32>>,
    /// What to add to the logit of the last token of a run once the others are there.
    sequence_bias: Vec<(Vec<u32>, f64)>,
    /// Token that comes first, where the prompt is one token.
    forced_bos_token_id: u32,
    /// Tokens of which one comes last, where the length ends it.
    #[serde(deserialize_with = "one_or_many")]
    forced_eos_token_id: Vec<u32>,
    /// Replace what is no number, or infinite, before tokens are chosen.
    remove_invalid_values: bool,
    /// Tokens after which ending becomes likelier, and by which factor a token.
    exponential_decay_length_penalty: (u32, f64),
    /// Tokens that never come.
    suppress_tokens: Vec<u32>,
    /// Tokens that do not come first.
    begin_suppress_tokens: Vec<u32>,
    /// Make processed logits the logarithms of probabilities again.
    renormalize_logits: bool,

    /// Token that fills shorter rows of a batch.
    #[serde(deserialize_with = "not_negative")]
    pad_token_id: u32,
    /// Token that begins a sequence.
    #[serde(deserialize_with = "not_negative")]
    bos_token_id: u32,
    /// Token that a decoder with an encoder begins with; `bos_token_id` when not set.
    #[serde(deserialize_with = "not_negative")]
    decoder_start_token_id: u32,
    /// Tokens that end the generation.
    #[serde(deserialize_with = "those_not_negative")]
    eos_token_id: Vec<u32>,

    /// Give the processed logits of each step.
    output_scores: bool,
    /// Give the model's own logits of each step.
    output_logits: bool,
    /// Give how likely each token was, and so many of the likeliest beside it. No field of transformers'.
    logprobs: u32,

    /// Classifier-free guidance: how far the prompt moves the logits from those without it; 1 is off.
    guidance_scale: f64,
    /// What the model reads in the prompts' place for guidance, one for each; the last token of the prompt
    /// when not set. transformers has it as an argument of `generate`, `negative_prompt_ids`.
    negative_prompts: Vec<Prompt>,

    /// Guess this many tokens at once from what followed the last tokens before.
    prompt_lookup_num_tokens: u32,
    /// Longest run of last tokens to look for; 2 when not set.
    max_matching_ngram_size: u32,
    /// Most tokens that a draft model guesses at once.
    num_assistant_tokens: u32,
    /// How that number changes with what comes of the guesses.
    num_assistant_tokens_schedule: AssistantSchedule,
    /// A draft model stops after a token that it holds less likely than this.
    assistant_confidence_threshold: f64,

    /// Seed of the random draws. Not torch's stream, and no field of transformers'.
    seed: u64,
}

/// How the number of guessed tokens changes from guess to guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssistantSchedule {
    /// It stays.
    #[default]
    Constant,
    /// Two more when all were right, one less when not. transformers keeps the number for the next call;
    /// here each call begins anew.
    Heuristic,
    /// The same, which begins anew in transformers too.
    HeuristicTransient,
}

/// When a beam search ends, once there are as many finished sequences as beams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlyStopping {
    /// When the best running beam, by its length so far, is not better than the worst finished: `False`.
    #[default]
    Heuristic,
    /// At once: `True`.
    AsSoonAsFull,
    /// When no running beam can become better: `"never"`.
    Never,
}

impl From<bool> for EarlyStopping {
    fn from(early: bool) -> Self {
        if early {
            Self::AsSoonAsFull
        } else {
            Self::Heuristic
        }
    }
}

impl Serialize for EarlyStopping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Heuristic => serializer.serialize_bool(false),
            Self::AsSoonAsFull => serializer.serialize_bool(true),
            Self::Never => serializer.serialize_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for EarlyStopping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            Bool(bool),
            Text(String),
        }
        match Spelling::deserialize(deserializer)? {
            Spelling::Bool(early) => Ok(early.into()),
            Spelling::Text(text) if text == "never" => Ok(Self::Never),
            Spelling::Text(text) => Err(D::Error::custom(format!(
                "`early_stopping` must be a boolean or 'never', but is {text}"
            ))),
        }
    }
}

/// A list, or its only item.
fn one_or_many<'de, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany<T> {
        Many(Vec<T>),
        One(T),
    }
    let value = Option::<OneOrMany<T>>::deserialize(deserializer)?;
    Ok(value.map(|value| match value {
        OneOrMany::Many(items) => items,
        OneOrMany::One(item) => vec![item],
    }))
}

/// A token id; files write -1 for none.
fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let id = Option::<i64>::deserialize(deserializer)?;
    Ok(id.and_then(|id| u32::try_from(id).ok()))
}

/// The same, of one id or several; of none but such, no token ends it.
fn those_not_negative<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<u32>>, D::Error> {
    let ids: Option<Vec<i64>> = one_or_many(deserializer)?;
    let known = |ids: Vec<i64>| ids.into_iter().filter_map(|id| u32::try_from(id).ok());
    Ok(ids.map(|ids| known(ids).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_spell_lists_and_absence_in_several_ways() {
        let config: GenerationConfig = serde_json::from_str(
            r#"{"eos_token_id": [2, -1], "pad_token_id": -1, "early_stopping": "never", "top_p": null,
                "stop_strings": "end", "transformers_version": "4.57.6"}"#,
        )
        .expect("is read");
        assert_eq!(config.eos_token_id, Some(vec![2]));
        assert_eq!(config.pad_token_id, None);
        assert_eq!(config.early_stopping, Some(EarlyStopping::Never));
        assert_eq!(config.stop_strings, Some(vec!["end".to_owned()]));
        let bytes = rmp_serde::to_vec_named(&config).expect("is written");
        assert_eq!(
            rmp_serde::from_slice::<GenerationConfig>(&bytes).expect("is read"),
            config
        );
        let wrong = serde_json::from_str::<GenerationConfig>(r#"{"early_stopping": "soon"}"#);
        assert!(
            wrong
                .expect_err("is no such way")
                .to_string()
                .contains("or 'never'")
        );
    }

    #[test]
    fn what_is_set_goes_before_what_is_not() {
        let call = GenerationConfig {
            top_k: Some(3),
            ..Default::default()
        };
        let file = GenerationConfig {
            top_k: Some(9),
            top_p: Some(0.5),
            ..Default::default()
        };
        let merged = call.or(&file);
        assert_eq!((merged.top_k, merged.top_p), (Some(3), Some(0.5)));
    }
}
