//! What pipelines are asked and answer: tasks with transformers' names, arguments and defaults (4.57.6),
//! and results in the shape of its dictionaries. Reading and writing text is the engine's matter.

use serde::{Deserialize, Serialize};

use crate::{
    array::Array,
    generate::StreamOptions,
    model::{ModelSource, ModelSpec},
    text_generation::{GeneratedText, GenerationInput, TextGenerationOptions},
    text2text::{Text2TextOptions, Text2TextTask, WrittenText},
    tokenize::TextInput,
};

/// Tasks that a pipeline runs by an encoder and its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EncoderTask {
    /// `text-classification`, also called `sentiment-analysis`.
    TextClassification,
    /// `token-classification`, also called `ner`.
    TokenClassification,
    /// `question-answering`.
    QuestionAnswering,
    /// `zero-shot-classification`.
    ZeroShotClassification,
    /// `fill-mask`.
    FillMask,
    /// `feature-extraction`.
    FeatureExtraction,
}

impl EncoderTask {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::TextClassification,
        Self::TokenClassification,
        Self::QuestionAnswering,
        Self::ZeroShotClassification,
        Self::FillMask,
        Self::FeatureExtraction,
    ];

    /// transformers' name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextClassification => "text-classification",
            Self::TokenClassification => "token-classification",
            Self::QuestionAnswering => "question-answering",
            Self::ZeroShotClassification => "zero-shot-classification",
            Self::FillMask => "fill-mask",
            Self::FeatureExtraction => "feature-extraction",
        }
    }

    /// The model and the revision that transformers 4.57.6 takes when none is given: `SUPPORTED_TASKS` of
    /// its `pipelines/__init__.py`.
    pub fn default_model(self) -> (&'static str, &'static str) {
        match self {
            Self::TextClassification => (
                "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
                "714eb0f",
            ),
            Self::TokenClassification => (
                "dbmdz/bert-large-cased-finetuned-conll03-english",
                "4c53496",
            ),
            Self::QuestionAnswering => (
                "distilbert/distilbert-base-cased-distilled-squad",
                "564e9b5",
            ),
            Self::ZeroShotClassification => ("facebook/bart-large-mnli", "d7645e1"),
            Self::FillMask => ("distilbert/distilroberta-base", "fb53ab8"),
            Self::FeatureExtraction => ("distilbert/distilbert-base-cased", "6ea8117"),
        }
    }
}

/// A pipeline's task: what decides which models it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PipelineTask {
    /// By an encoder and its head.
    Encoder(EncoderTask),
    /// By an encoder-decoder.
    Text2Text(Text2TextTask),
    /// By a decoder: `text-generation`.
    TextGeneration,
}

/// A pipeline to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineRun {
    /// The model; loaded, with progress, when it is not resident.
    pub model: ModelSpec,
    /// The tokenizer; the model's own when not given.
    pub tokenizer: Option<ModelSource>,
    /// Inputs and arguments.
    pub call: PipelineCall,
    /// Sequences that are computed at once; what results does not depend on it. As many as pay when not
    /// given.
    pub batch_size: Option<u32>,
    /// Send the text as it is written, cut by these rules; of one input of a task that writes.
    #[serde(default)]
    pub stream: Option<StreamOptions>,
    /// A smaller model that guesses, of `text-generation`.
    #[serde(default)]
    pub assistant: Option<ModelSpec>,
}

/// Inputs of a task and how they are to be read. The answers come in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PipelineCall {
    /// Label texts. Answered by [`PipelineAnswer::Labels`].
    TextClassification {
        /// The texts, or pairs of texts.
        inputs: Vec<TextInput>,
        /// How.
        options: ClassificationOptions,
    },
    /// Label what texts name. Answered by [`PipelineAnswer::Entities`].
    TokenClassification {
        /// The texts.
        inputs: Vec<String>,
        /// How.
        options: EntityOptions,
    },
    /// Find answers in texts. Answered by [`PipelineAnswer::Answers`].
    QuestionAnswering {
        /// The questions with their contexts.
        inputs: Vec<Question>,
        /// How.
        options: AnswerOptions,
    },
    /// Choose among labels that the model was not trained on. Answered by [`PipelineAnswer::Rankings`].
    ZeroShotClassification {
        /// The texts.
        inputs: Vec<String>,
        /// How.
        options: ZeroShotOptions,
    },
    /// Guess masked tokens. Answered by [`PipelineAnswer::Masks`].
    FillMask {
        /// The texts, each with at least one mask token.
        inputs: Vec<String>,
        /// How.
        options: MaskOptions,
    },
    /// Last hidden states. Answered by [`PipelineAnswer::Features`].
    FeatureExtraction {
        /// The texts.
        inputs: Vec<String>,
        /// How.
        options: FeatureOptions,
    },
    /// Write about texts. Answered by [`PipelineAnswer::Texts`].
    Text2Text {
        /// The texts.
        inputs: Vec<String>,
        /// What, and how.
        options: Box<Text2TextOptions>,
    },
    /// Continue texts or conversations. Answered by [`PipelineAnswer::Generations`].
    TextGeneration {
        /// The texts and conversations.
        inputs: Vec<GenerationInput>,
        /// How.
        options: Box<TextGenerationOptions>,
    },
    /// One vector a text, as the model's `modules.json` says, or the mean of its last hidden states. Answered by [`PipelineAnswer::Embeddings`].
    Embeddings {
        /// The texts; what is longer than the tokenizer takes is cut.
        inputs: Vec<String>,
        /// Give vectors of length 1.
        normalize: bool,
        /// What goes before each text.
        #[serde(default)]
        prompt: EmbeddingPrompt,
    },
}

impl PipelineCall {
    /// Its task.
    pub fn task(&self) -> PipelineTask {
        PipelineTask::Encoder(match self {
            Self::TextClassification { .. } => EncoderTask::TextClassification,
            Self::TokenClassification { .. } => EncoderTask::TokenClassification,
            Self::QuestionAnswering { .. } => EncoderTask::QuestionAnswering,
            Self::ZeroShotClassification { .. } => EncoderTask::ZeroShotClassification,
            Self::FillMask { .. } => EncoderTask::FillMask,
            Self::FeatureExtraction { .. } | Self::Embeddings { .. } => {
                EncoderTask::FeatureExtraction
            }
            Self::Text2Text { options, .. } => return PipelineTask::Text2Text(options.task),
            Self::TextGeneration { .. } => return PipelineTask::TextGeneration,
        })
    }
}

/// Arguments of feature extraction, `tokenize_kwargs` among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeatureOptions {
    /// Cut texts that are longer than the model reads.
    pub truncation: bool,
    /// Tokens that texts are cut to; with it alone they are cut, as in transformers.
    pub max_length: Option<u32>,
    /// Whether the tokenizer puts its special tokens around a text.
    pub add_special_tokens: bool,
}

impl Default for FeatureOptions {
    fn default() -> Self {
        Self {
            truncation: false,
            max_length: None,
            add_special_tokens: true,
        }
    }
}

/// What goes before each text that becomes a vector: sentence-transformers' `prompt_name` and `prompt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EmbeddingPrompt {
    /// What the model's configuration says.
    #[default]
    Default,
    /// The prompt of this name there.
    Named(String),
    /// This text.
    Text(String),
}

/// Arguments of text classification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassificationOptions {
    /// Labels to give, the likeliest first where it is set.
    pub top_k: TopK,
    /// Whether all labels are given, in the model's own order, where `top_k` is not set; by the configuration
    /// when not given.
    pub return_all_scores: Option<bool>,
    /// What makes scores of logits; by the configuration when not given.
    pub function_to_apply: Option<ScoreFunction>,
    /// Cut texts that are longer than the model reads, which fail otherwise.
    pub truncation: bool,
}

/// How many labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopK {
    /// As the model's configuration says: the likeliest, or where `return_all_scores` asks for it all in the
    /// model's own order.
    #[default]
    Unset,
    /// The likeliest so many.
    Some(u32),
    /// All: transformers' `top_k=None`.
    All,
}

/// transformers' `function_to_apply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScoreFunction {
    /// Each by itself.
    Sigmoid,
    /// All sum to 1.
    Softmax,
    /// Logits as they are.
    None,
}

/// Arguments of token classification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntityOptions {
    /// How tokens become entities; each stays by itself when not given, then also with `stride`.
    pub aggregation_strategy: Option<Aggregation>,
    /// Labels to leave out.
    pub ignore_labels: Vec<String>,
    /// Tokens that windows share in which a long text is read; a text is cut at the longest that the
    /// tokenizer takes when not given.
    pub stride: Option<u32>,
    /// The words of each text, where it was split into words before; the texts are theirs, joined by
    /// `delimiter`. Empty where texts are as they are.
    pub words: Vec<Vec<String>>,
    /// What stands between such words.
    pub delimiter: String,
}

impl Default for EntityOptions {
    fn default() -> Self {
        Self {
            aggregation_strategy: None,
            ignore_labels: vec!["O".to_owned()],
            stride: None,
            words: Vec::new(),
            delimiter: " ".to_owned(),
        }
    }
}

/// transformers' `aggregation_strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aggregation {
    /// Each token by itself.
    #[default]
    None,
    /// Neighbours of one label become one.
    Simple,
    /// The same by words, each labelled as its first token.
    First,
    /// The same, by the mean of a word's tokens.
    Average,
    /// The same, by a word's surest token.
    Max,
}

/// A question and the text that may hold its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The question.
    pub question: String,
    /// The text.
    pub context: String,
}

/// Arguments of question answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerOptions {
    /// Answers to give at most.
    pub top_k: u32,
    /// Tokens that windows share in which a long context is read; 128, or half a window, when not given.
    pub doc_stride: Option<u32>,
    /// Tokens of an answer at most.
    pub max_answer_len: u32,
    /// Tokens of a window, question and special tokens included; 384, or what the tokenizer takes, when
    /// not given.
    pub max_seq_len: Option<u32>,
    /// Whether there may be no answer.
    pub handle_impossible_answer: bool,
    /// Widen answers to whole words.
    pub align_to_words: bool,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            top_k: 1,
            doc_stride: None,
            max_answer_len: 15,
            max_seq_len: None,
            handle_impossible_answer: false,
            align_to_words: true,
        }
    }
}

/// Arguments of zero-shot classification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZeroShotOptions {
    /// The labels.
    pub candidate_labels: Vec<String>,
    /// The sentence that a label makes true; `{}` stands for the label, or `{0}`, as `str.format` has it.
    pub hypothesis_template: String,
    /// Whether several labels can be true: each is scored by itself.
    pub multi_label: bool,
}

impl Default for ZeroShotOptions {
    fn default() -> Self {
        Self {
            candidate_labels: Vec::new(),
            hypothesis_template: "This example is {}.".to_owned(),
            multi_label: false,
        }
    }
}

/// Arguments of filling masks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MaskOptions {
    /// Guesses to give.
    pub top_k: u32,
    /// Words to choose among; the whole vocabulary when not given.
    pub targets: Option<Vec<String>>,
    /// Cut texts that are longer than the model reads, which fail otherwise.
    pub truncation: bool,
}

impl Default for MaskOptions {
    fn default() -> Self {
        Self {
            top_k: 5,
            targets: None,
            truncation: false,
        }
    }
}

/// What a pipeline answers, one entry an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PipelineAnswer {
    /// Of each text its labels.
    Labels(Vec<Vec<LabelScore>>),
    /// Of each text its entities.
    Entities(Vec<Vec<Entity>>),
    /// Of each question its answers, the likeliest first.
    Answers(Vec<Vec<Answer>>),
    /// Of each text the candidate labels.
    Rankings(Vec<Ranking>),
    /// Of each text, of each mask the guesses, the likeliest first.
    Masks(Vec<Vec<Vec<MaskGuess>>>),
    /// Of each text its last hidden states, `(tokens, hidden)`.
    Features(Vec<Array>),
    /// Of each text what was written about it, the best first.
    Texts(Vec<Vec<WrittenText>>),
    /// Of each text or conversation what was added to it, the best first.
    Generations(Vec<Vec<GeneratedText>>),
    /// Of each text a vector, `(texts, hidden)`.
    Embeddings(Array),
}

/// A label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelScore {
    /// Its name.
    pub label: String,
    /// How likely it is, from 0 to 1; a logit where no function is applied.
    pub score: f64,
}

/// Something that a text names, or one of its tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    /// The label of a single token.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entity: Option<String>,
    /// The label of a group, without `B-` or `I-`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entity_group: Option<String>,
    /// How likely the label is.
    pub score: f64,
    /// Number of a single token in its sequence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub index: Option<u32>,
    /// The token or the words, as the tokenizer decodes them.
    pub word: String,
    /// Where it starts in the text, in characters.
    pub start: u32,
    /// Where it ends.
    pub end: u32,
}

impl Entity {
    /// The label, of a token or a group.
    pub fn label(&self) -> &str {
        let label = self.entity_group.as_deref().or(self.entity.as_deref());
        label.unwrap_or_default()
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// How likely it is.
    pub score: f64,
    /// Where it starts in the context, in characters.
    pub start: u32,
    /// Where it ends.
    pub end: u32,
    /// Its text; empty where there is no answer.
    pub answer: String,
}

/// Candidate labels of a text, the likeliest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// The text.
    pub sequence: String,
    /// The labels.
    pub labels: Vec<String>,
    /// How likely each is.
    pub scores: Vec<f64>,
}

/// A guess of a masked token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskGuess {
    /// How likely it is.
    pub score: f64,
    /// Its id.
    pub token: u32,
    /// Its text.
    pub token_str: String,
    /// The text with it.
    pub sequence: String,
}
