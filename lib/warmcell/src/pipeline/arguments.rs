//! Arguments of pipelines, each a method of [`Pipeline`]. One that its task does not have is told when
//! the pipeline is run.

use wire::{
    FailureKind,
    generate::GenerationConfig,
    model::ModelSpec,
    pipeline::{
        Aggregation, AnswerOptions, ClassificationOptions, EmbeddingPrompt, EntityOptions,
        FeatureOptions, MaskOptions, ScoreFunction, TopK, ZeroShotOptions,
    },
    text_generation::TextGenerationOptions,
    text2text::Text2TextOptions,
    tokenize::Padding,
};

use super::{
    Pipeline, Task,
    conversions::{IntoChoice, IntoTexts},
};
use crate::{Error, Result};

/// All arguments, with their defaults where they are not set.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments {
    /// Those that were set.
    set: Vec<&'static str>,
    /// The first that has no such value.
    wrong: Option<Error>,
    pub classification: ClassificationOptions,
    entities: EntityOptions,
    /// `grouped_entities` and `ignore_subwords`.
    grouped: Option<bool>,
    by_words: Option<bool>,
    pub answers: AnswerOptions,
    pub zero_shot: ZeroShotOptions,
    pub masks: MaskOptions,
    pub features: FeatureOptions,
    /// Of embeddings.
    pub prompt: EmbeddingPrompt,
    /// Of `text-generation`, beside `writing`.
    pub continuing: TextGenerationOptions,
    /// Of tasks that write; what the call says of generation is here.
    pub writing: Text2TextOptions,
    pub generation_config: Option<GenerationConfig>,
    pub return_tensors: bool,
    /// A smaller model that guesses, of `text-generation`.
    pub assistant: Option<ModelSpec>,
    pub batch_size: Option<u32>,
}

impl Arguments {
    pub fn note(&mut self, name: &'static str) {
        self.set.push(name);
    }

    /// Whether one was set.
    pub fn has(&self, name: &str) -> bool {
        self.set.contains(&name)
    }

    fn set_top_k(&mut self, count: Option<u32>) {
        self.note("top_k");
        self.classification.top_k = count.map_or(TopK::All, TopK::Some);
        // 0 is off; unset would be the 50 of `generate`.
        self.writing.generation.top_k = Some(count.unwrap_or(0));
        self.answers.top_k = count.unwrap_or(AnswerOptions::default().top_k);
        self.masks.top_k = count.unwrap_or(MaskOptions::default().top_k);
    }

    /// Keeps an error for the run.
    pub fn refuse(&mut self, error: Error) {
        self.wrong.get_or_insert(error);
    }

    /// A choice; one that there is none of is told when the pipeline is run.
    fn choice<T>(&mut self, choice: Result<T>) -> Option<T> {
        match choice {
            Ok(choice) => Some(choice),
            Err(error) => {
                self.refuse(error);
                None
            }
        }
    }

    /// The options of `token-classification`: `grouped_entities` and `ignore_subwords` are a strategy.
    pub fn entities(&self) -> EntityOptions {
        let mut options = self.entities.clone();
        if self.grouped.is_some() || self.by_words.is_some() {
            let is_grouped = self.grouped == Some(true);
            options.aggregation_strategy = Some(match (is_grouped, self.by_words) {
                (true, Some(true)) => Aggregation::First,
                (true, _) => Aggregation::Simple,
                (false, _) => Aggregation::None,
            });
        }
        options
    }

    /// Fails on one that the task does not have.
    pub fn check(&self, task: Task) -> Result<()> {
        let own = task.arguments();
        match self.set.iter().find(|name| !own.contains(name)) {
            None => self.wrong.clone().map_or(Ok(()), Err),
            Some(name) => Err(Error::new(
                FailureKind::InvalidArgument,
                format!("`{}` has no argument `{name}`", task.name()),
            )
            .with_hint(format!("its arguments: {}", own.join(", ")))),
        }
    }
}

impl Pipeline {
    /// Most tokens to add; 256 when not set and no file of the model's states a length. Of
    /// `text-generation`, `summarization`, `translation` and `text2text-generation`.
    #[must_use]
    pub fn max_new_tokens(mut self, tokens: u32) -> Self {
        self.arguments.note("max_new_tokens");
        self.arguments.writing.generation.max_new_tokens = Some(tokens);
        self
    }

    /// Whether to draw from the distribution, which `text-generation` does when not told otherwise, and
    /// the tasks of encoder-decoders do not.
    #[must_use]
    pub fn do_sample(mut self, sample: bool) -> Self {
        self.arguments.note("do_sample");
        self.arguments.writing.generation.do_sample = Some(sample);
        self
    }

    /// Divides the logits; 0.7 when not set. Of `text-generation`, and with `do_sample` of the tasks of
    /// encoder-decoders, where 1 is the default.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.arguments.note("temperature");
        self.arguments.writing.generation.temperature = Some(temperature);
        self
    }

    /// Seed of the random draws. Of the tasks that write.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.arguments.note("seed");
        self.arguments.writing.generation.seed = Some(seed);
        self
    }

    /// How many labels, answers or guesses to give. In tasks that write, the tokens to draw from. What
    /// `None` means is the task's: all labels of a classification, the usual 5 guesses and the usual
    /// answer, and in tasks that write that tokens are drawn from all.
    #[must_use]
    pub fn top_k(mut self, count: impl Into<Option<u32>>) -> Self {
        self.arguments.set_top_k(count.into());
        self
    }

    /// What makes scores of logits, `"sigmoid"`, `"softmax"` or `"none"`; by the model's configuration when
    /// not set. Of `text-classification`.
    #[must_use]
    pub fn function_to_apply(mut self, function: impl IntoChoice<ScoreFunction>) -> Self {
        self.arguments.note("function_to_apply");
        self.arguments.classification.function_to_apply =
            self.arguments.choice(function.into_choice());
        self
    }

    /// Cuts texts that are longer than the model reads; they fail when not set. Of
    /// `text-classification`, `fill-mask`, `feature-extraction` and the tasks that write.
    #[must_use]
    pub fn truncation(mut self, truncation: bool) -> Self {
        self.arguments.note("truncation");
        self.arguments.classification.truncation = truncation;
        self.arguments.masks.truncation = truncation;
        self.arguments.features.truncation = truncation;
        self.arguments.writing.truncation = truncation;
        self.arguments.continuing.truncation = truncation;
        self
    }

    /// The prompt that goes before each text, by its name in the model's `config_sentence_transformers.json`,
    /// such as `"query"`; the one that is the default there when not set. Of
    /// [`Pipeline::embeddings`].
    #[must_use]
    pub fn prompt_name(mut self, name: impl Into<String>) -> Self {
        self.arguments.note("prompt_name");
        self.arguments.prompt = EmbeddingPrompt::Named(name.into());
        self
    }

    /// The text that goes before each text. Of [`Pipeline::embeddings`].
    #[must_use]
    pub fn prompt(mut self, text: impl Into<String>) -> Self {
        self.arguments.note("prompt");
        self.arguments.prompt = EmbeddingPrompt::Text(text.into());
        self
    }

    /// How tokens become entities, `"simple"`, `"first"`, `"average"` or `"max"`; each stays alone when not set.
    /// Of `token-classification`.
    #[must_use]
    pub fn aggregation_strategy(mut self, strategy: impl IntoChoice<Aggregation>) -> Self {
        self.arguments.note("aggregation_strategy");
        self.arguments.entities.aggregation_strategy =
            self.arguments.choice(strategy.into_choice());
        self
    }

    /// transformers' old way of saying `aggregation_strategy`, before which it goes: `"simple"`, with
    /// `ignore_subwords` `"first"`. Of `token-classification`.
    #[must_use]
    pub fn grouped_entities(mut self, grouped: bool) -> Self {
        self.arguments.note("grouped_entities");
        self.arguments.grouped = Some(grouped);
        self
    }

    /// With `grouped_entities`, a word has the label of its first token. Of `token-classification`.
    #[must_use]
    pub fn ignore_subwords(mut self, ignore: bool) -> Self {
        self.arguments.note("ignore_subwords");
        self.arguments.by_words = Some(ignore);
        self
    }

    /// transformers' old way of asking for all labels, in the model's own order; `top_k` goes before it. Of
    /// `text-classification`.
    #[must_use]
    pub fn return_all_scores(mut self, all: bool) -> Self {
        self.arguments.note("return_all_scores");
        self.arguments.classification.return_all_scores = Some(all);
        self
    }

    /// Whether windows are filled up, `"do_not_pad"`, `"longest"` or `"max_length"`: no answer depends on it, as
    /// none does in transformers, and here nothing is computed for padding. Of `question-answering`.
    #[must_use]
    pub fn padding(mut self, padding: impl IntoChoice<Padding>) -> Self {
        self.arguments.note("padding");
        let _: Option<Padding> = self.arguments.choice(padding.into_choice());
        self
    }

    /// Tokens of a question at most, where a tokenizer is written in Python: of those here it is not looked
    /// at, as in transformers. Of `question-answering`.
    #[must_use]
    pub fn max_question_len(mut self, _tokens: u32) -> Self {
        self.arguments.note("max_question_len");
        self
    }

    /// Labels to leave out; `O` when not set. Of `token-classification`.
    #[must_use]
    pub fn ignore_labels<S: Into<String>>(mut self, labels: impl IntoIterator<Item = S>) -> Self {
        self.arguments.note("ignore_labels");
        self.arguments.entities.ignore_labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Reads long texts in windows that share so many tokens; they are cut when not set. Of
    /// `token-classification`.
    #[must_use]
    pub fn stride(mut self, tokens: u32) -> Self {
        self.arguments.note("stride");
        self.arguments.entities.stride = Some(tokens);
        self
    }

    /// What stands between words that were split before, a blank when not set. Of `token-classification`, with
    /// [`PipelineInput::Words`](super::PipelineInput::Words).
    #[must_use]
    pub fn delimiter(mut self, delimiter: impl Into<String>) -> Self {
        self.arguments.note("delimiter");
        self.arguments.entities.delimiter = delimiter.into();
        self
    }

    /// Tokens that windows of a long context share; 128 when not set. Of `question-answering`.
    #[must_use]
    pub fn doc_stride(mut self, tokens: u32) -> Self {
        self.arguments.note("doc_stride");
        self.arguments.answers.doc_stride = Some(tokens);
        self
    }

    /// Tokens of an answer at most; 15 when not set. Of `question-answering`.
    #[must_use]
    pub fn max_answer_len(mut self, tokens: u32) -> Self {
        self.arguments.note("max_answer_len");
        self.arguments.answers.max_answer_len = tokens;
        self
    }

    /// Tokens of a window, question included; 384 when not set. Of `question-answering`.
    #[must_use]
    pub fn max_seq_len(mut self, tokens: u32) -> Self {
        self.arguments.note("max_seq_len");
        self.arguments.answers.max_seq_len = Some(tokens);
        self
    }

    /// Whether there may be no answer. Of `question-answering`.
    #[must_use]
    pub fn handle_impossible_answer(mut self, handle: bool) -> Self {
        self.arguments.note("handle_impossible_answer");
        self.arguments.answers.handle_impossible_answer = handle;
        self
    }

    /// Whether answers are widened to whole words, which they are when not told otherwise. Of
    /// `question-answering`.
    #[must_use]
    pub fn align_to_words(mut self, align: bool) -> Self {
        self.arguments.note("align_to_words");
        self.arguments.answers.align_to_words = align;
        self
    }

    /// Labels to choose among, a list or one text with commas between them; `run((text, labels))` says them
    /// too. Of `zero-shot-classification`.
    #[must_use]
    pub fn candidate_labels(mut self, labels: impl IntoTexts) -> Self {
        self.arguments.note("candidate_labels");
        self.arguments.zero_shot.candidate_labels = labels.into_texts().into_labels();
        self
    }

    /// The sentence that a label makes true, with `{}` for the label; `This example is {}.` when not
    /// set. Of `zero-shot-classification`.
    #[must_use]
    pub fn hypothesis_template(mut self, template: impl Into<String>) -> Self {
        self.arguments.note("hypothesis_template");
        self.arguments.zero_shot.hypothesis_template = template.into();
        self
    }

    /// Whether several labels can be true. Of `zero-shot-classification`.
    #[must_use]
    pub fn multi_label(mut self, multi_label: bool) -> Self {
        self.arguments.note("multi_label");
        self.arguments.zero_shot.multi_label = multi_label;
        self
    }

    /// The word or the words to choose among; the whole vocabulary when not set. Of `fill-mask`.
    #[must_use]
    pub fn targets(mut self, words: impl IntoTexts) -> Self {
        self.arguments.note("targets");
        self.arguments.masks.targets = Some(words.into_texts().into_list());
        self
    }

    /// Sequences that are computed at once; as many as pay when not set, in `text-generation` one. Results do
    /// not depend on it, but where `max_length` counts a batch's padding, or tokens are drawn.
    #[must_use]
    pub fn batch_size(mut self, size: u32) -> Self {
        self.arguments.note("batch_size");
        self.arguments.batch_size = Some(size);
        self
    }
}

#[cfg(test)]
mod tests {
    use wire::pipeline::EncoderTask;

    use super::*;

    /// `_sanitize_parameters` of each pipeline: a `None` is left out by all but the classification.
    #[test]
    fn no_top_k_is_what_each_task_makes_of_it() {
        let mut arguments = Arguments::default();
        arguments.set_top_k(None);
        assert_eq!(arguments.classification.top_k, TopK::All);
        assert_eq!(arguments.masks.top_k, 5);
        assert_eq!(arguments.answers.top_k, 1);
        assert_eq!(arguments.writing.generation.top_k, Some(0));
        arguments.set_top_k(Some(3));
        assert_eq!(arguments.classification.top_k, TopK::Some(3));
        assert_eq!((arguments.masks.top_k, arguments.answers.top_k), (3, 3));
        assert_eq!(arguments.writing.generation.top_k, Some(3));
    }

    /// `_sanitize_parameters` of `token_classification.py`.
    #[test]
    fn old_names_of_strategies() {
        for (grouped, by_words, strategy) in [
            (None, None, None),
            (Some(true), None, Some(Aggregation::Simple)),
            (Some(true), Some(true), Some(Aggregation::First)),
            (Some(false), None, Some(Aggregation::None)),
            (None, Some(true), Some(Aggregation::None)),
        ] {
            let arguments = Arguments {
                grouped,
                by_words,
                ..Arguments::default()
            };
            assert_eq!(arguments.entities().aggregation_strategy, strategy);
        }
    }

    #[test]
    fn a_wrong_choice_is_told_when_it_runs() {
        let mut arguments = Arguments::default();
        let task = Task::Encoder(EncoderTask::TokenClassification);
        let choice: Result<Aggregation> = "simpel".into_choice();
        assert_eq!(arguments.choice(choice), None);
        let error = arguments.check(task).expect_err("is no strategy");
        assert!(error.message().contains("simpel"), "{error}");
    }
}
