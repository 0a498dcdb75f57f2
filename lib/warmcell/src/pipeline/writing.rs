//! Arguments of all pipelines that write: the names of transformers' `generate`, and what its
//! `TextGenerationPipeline` and `Text2TextGenerationPipeline` have in common. Those that other tasks have too are
//! in `arguments`.

use wire::generate::{EarlyStopping, GenerationConfig};

use super::Pipeline;

/// One setter for each option of `generate`, named as transformers names it.
macro_rules! options {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.arguments.note(stringify!($name));
            self.arguments.writing.generation.$name = Some($name.into());
            self
        })*
    };
}

/// Of `text-generation`, `summarization`, `translation` and `text2text-generation`.
impl Pipeline {
    options! {
        /// Most tokens of the result, in `text-generation` with the prompt, which is cut to it as
        /// transformers does; `max_new_tokens`, which is 256 where a model states no length, goes before
        /// it. Of the tasks that write: `text-generation`, `summarization`, `translation` and
        /// `text2text-generation`. In `feature-extraction` texts are cut to it.
        max_length: u32;
        /// Fewest tokens of the result, in `text-generation` with the prompt. Of the tasks that write.
        min_length: u32;
        /// Fewest tokens to add. Of the tasks that write.
        min_new_tokens: u32;
        /// Seconds after which it ends with the token that is under way. Of the tasks that write.
        max_time: f64;
        /// Keep the likeliest tokens up to this probability mass, with `do_sample`. Of the tasks that write.
        top_p: f64;
        /// Keep tokens at least this times as likely as the likeliest, with `do_sample`. Of the tasks that
        /// write.
        min_p: f64;
        /// Keep the tokens whose surprise is nearest to the expected one, with `do_sample`. Of the tasks
        /// that write.
        typical_p: f64;
        /// Runs of tokens that must not come. Of the tasks that write.
        bad_words_ids: Vec<Vec<u32>>;
        /// Token ids that end the result. Of the tasks that write.
        eos_token_id: Vec<u32>;
        /// Token that fills shorter sequences. Of the tasks that write.
        pad_token_id: u32;
        /// Sequences that are followed at once; 4 when not set, in `text-generation` 1. Of the tasks that
        /// write.
        num_beams: u32;
        /// Results for each text, the best first. Of the tasks that write.
        num_return_sequences: u32;
        /// Exponent of the length by which beam search divides a result's score: above 0 longer ones win.
        /// Of the tasks that write.
        length_penalty: f64;
        /// No run of this many tokens comes twice. Of the tasks that write.
        no_repeat_ngram_size: u32;
        /// Makes tokens that were written less likely; 1 is off. Of the tasks that write.
        repetition_penalty: f64;
        /// Makes tokens of the prompt more likely; 1 is off. Of the tasks that write.
        encoder_repetition_penalty: f64;
        /// No run of this many tokens of the prompt comes again; 0 is off. Of the tasks that write.
        encoder_no_repeat_ngram_size: u32;
        /// Runs of tokens, each with what is added to the logit of its last token once the others are there.
        /// Of the tasks that write.
        sequence_bias: Vec<(Vec<u32>, f64)>;
        /// Token that comes first. Of the tasks that write.
        forced_bos_token_id: u32;
        /// Tokens of which one comes last where the length ends it. Of the tasks that write.
        forced_eos_token_id: Vec<u32>;
        /// Token that the decoder starts with. Of `summarization`, `translation` and `text2text-generation`.
        decoder_start_token_id: u32;
        /// Tokens that never come. Of the tasks that write.
        suppress_tokens: Vec<u32>;
        /// Tokens that do not come first. Of the tasks that write.
        begin_suppress_tokens: Vec<u32>;
        /// Tokens after which ending becomes likelier, and by which factor a token. Of the tasks that write.
        exponential_decay_length_penalty: (u32, f64);
        /// Keep tokens at least this likely, with `do_sample`. Of the tasks that write.
        epsilon_cutoff: f64;
        /// The same with a bound that falls where the distribution is flat. Of the tasks that write.
        eta_cutoff: f64;
        /// Make scores the logarithms of probabilities, which processors leave them not. Of the tasks that
        /// write.
        renormalize_logits: bool;
        /// Replace what is no number, or infinite, before tokens are chosen. Of the tasks that write.
        remove_invalid_values: bool;
        /// Whether to start from the keys and values that an earlier turn of the conversation left, which
        /// it does when not told otherwise. Of the tasks that write.
        use_cache: bool;
        /// Classifier-free guidance: above 1 the text keeps closer to the prompt; 1 is off. Of
        /// `text-generation`.
        guidance_scale: f64;
        /// Prompt lookup decoding: guess this many tokens at once from what followed the same tokens before.
        /// Of `text-generation`.
        prompt_lookup_num_tokens: u32;
        /// Longest run of last tokens that prompt lookup looks for; 2 when not set. Of `text-generation`.
        max_matching_ngram_size: u32;
        /// Most tokens that the assistant guesses at once; 20 when not set. Of `text-generation`.
        num_assistant_tokens: u32;
        /// The assistant stops after a token that it holds less likely than this; 0.4 when not set. Of
        /// `text-generation`.
        assistant_confidence_threshold: f64;
    }

    /// When a beam search ends; see [`EarlyStopping`]. Of the tasks that write.
    #[must_use]
    pub fn early_stopping(mut self, early: impl Into<EarlyStopping>) -> Self {
        self.arguments.note("early_stopping");
        self.arguments.writing.generation.early_stopping = Some(early.into());
        self
    }

    /// A configuration of your own in the place of the pipeline's defaults and of the model's
    /// `task_specific_params`; what other arguments say goes before it, and what it leaves open comes from
    /// the model's files where transformers 4.50 or later has written them. Of the tasks that write.
    #[must_use]
    pub fn generation_config(mut self, config: GenerationConfig) -> Self {
        self.arguments.note("generation_config");
        self.arguments.generation_config = Some(config);
        self
    }

    /// A text whose first token ends the result, in `text-generation` each of its tokens. Of the tasks that write.
    #[must_use]
    pub fn stop_sequence(mut self, text: impl Into<String>) -> Self {
        self.arguments.note("stop_sequence");
        self.arguments.writing.stop_sequence = Some(text.into());
        self
    }

    /// Whether the blanks before punctuation are taken away: when not set in `text-generation`, and not in the
    /// other tasks that write.
    #[must_use]
    pub fn clean_up_tokenization_spaces(mut self, clean_up: bool) -> Self {
        self.arguments.note("clean_up_tokenization_spaces");
        self.arguments.continuing.clean_up_tokenization_spaces = clean_up;
        self.arguments.writing.clean_up_tokenization_spaces = clean_up;
        self
    }

    /// Texts that end the result when they are completed. Of the tasks that write.
    #[must_use]
    pub fn stop_strings<T: Into<String>>(mut self, texts: impl IntoIterator<Item = T>) -> Self {
        self.arguments.note("stop_strings");
        let texts = texts.into_iter().map(Into::into).collect();
        self.arguments.writing.generation.stop_strings = Some(texts);
        self
    }

    /// Writes tokens to JSON instead of the text, as `summary_token_ids`, `generated_token_ids`. Of the tasks that write.
    #[must_use]
    pub fn return_tensors(mut self, tensors: bool) -> Self {
        self.arguments.note("return_tensors");
        self.arguments.return_tensors = tensors;
        self
    }
}
