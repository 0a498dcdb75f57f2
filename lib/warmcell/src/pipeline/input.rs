//! What pipelines are given: a text or several, pairs, a text with labels, a conversation. Which of them
//! a task takes, the task says when it is run.

use wire::{
    FailureKind,
    pipeline::{PipelineCall, Question},
    tokenize::TextInput,
};

use super::{Task, arguments::Arguments};
use crate::{Error, Messages, Result};

/// What a pipeline runs on.
#[derive(Clone, Debug)]
pub enum PipelineInput {
    /// A text.
    Text(String),
    /// Several.
    Texts(Vec<String>),
    /// A question and its context, or two texts to classify together.
    Pair(String, String),
    /// Several pairs; a list of tuples has no conversion of its own.
    Pairs(Vec<(String, String)>),
    /// A text, and labels to choose among.
    Labelled(String, Vec<String>),
    /// Texts that were split into words before, for `token-classification`: transformers'
    /// `is_split_into_words`.
    Words(Vec<Vec<String>>),
    /// A conversation to answer.
    Chat(Messages),
    /// Several.
    Chats(Vec<Messages>),
}

impl PipelineInput {
    /// Whether it is one, not a list of one.
    pub(super) fn is_single(&self) -> bool {
        !matches!(
            self,
            Self::Texts(_) | Self::Pairs(_) | Self::Words(_) | Self::Chats(_)
        )
    }

    pub(super) fn does_not_fit(&self, task: &str, takes: &str) -> Error {
        let what = match self {
            Self::Text(_) => "one text",
            Self::Texts(_) => "a list of texts",
            Self::Pair(..) => "two texts",
            Self::Pairs(_) => "pairs of texts",
            Self::Labelled(..) => "a text with a list",
            Self::Words(_) => "lists of words",
            Self::Chat(_) => "a conversation",
            Self::Chats(_) => "a list of conversations",
        };
        Error::new(FailureKind::InvalidArgument, format!("`{task}` got {what}"))
            .with_hint(format!("it takes {takes}"))
    }

    /// The call of a task on it.
    pub(super) fn into_call(self, task: Task, arguments: &Arguments) -> Result<PipelineCall> {
        use wire::pipeline::EncoderTask as E;
        let Task::Encoder(task) = task else {
            return Err(self.does_not_fit("text-generation", "a text or a conversation"));
        };
        Ok(match task {
            E::TextClassification => PipelineCall::TextClassification {
                inputs: self.inputs(task)?,
                options: arguments.classification,
            },
            E::TokenClassification => {
                let mut options = arguments.entities.clone();
                let inputs = match self {
                    Self::Words(words) => {
                        options.words = words;
                        let words = options.words.iter();
                        words.map(|words| words.join(&options.delimiter)).collect()
                    }
                    other => other.texts(task)?,
                };
                PipelineCall::TokenClassification { inputs, options }
            }
            E::QuestionAnswering => PipelineCall::QuestionAnswering {
                inputs: self.questions(task)?,
                options: arguments.answers,
            },
            E::ZeroShotClassification => {
                let mut options = arguments.zero_shot.clone();
                let inputs = match self {
                    Self::Labelled(text, labels) => {
                        options.candidate_labels = labels;
                        vec![text]
                    }
                    // As in transformers, one text with commas between the labels.
                    Self::Pair(text, labels) => {
                        options.candidate_labels = split_labels(&labels);
                        vec![text]
                    }
                    other => other.texts(task)?,
                };
                PipelineCall::ZeroShotClassification { inputs, options }
            }
            E::FillMask => PipelineCall::FillMask {
                inputs: self.texts(task)?,
                options: arguments.masks.clone(),
            },
            E::FeatureExtraction => PipelineCall::FeatureExtraction {
                inputs: self.texts(task)?,
                truncation: arguments.features_truncation,
            },
        })
    }

    pub(super) fn texts(self, task: wire::pipeline::EncoderTask) -> Result<Vec<String>> {
        match self {
            Self::Text(text) => Ok(vec![text]),
            Self::Texts(texts) => Ok(texts),
            other => Err(other.does_not_fit(task.name(), "a text, or a list of texts")),
        }
    }

    fn inputs(self, task: wire::pipeline::EncoderTask) -> Result<Vec<TextInput>> {
        match self {
            Self::Pair(text, pair) => Ok(vec![(text, pair).into()]),
            Self::Pairs(pairs) => Ok(pairs.into_iter().map(TextInput::from).collect()),
            other => Ok(other
                .texts(task)?
                .into_iter()
                .map(TextInput::from)
                .collect()),
        }
    }

    fn questions(self, task: wire::pipeline::EncoderTask) -> Result<Vec<Question>> {
        let question = |(question, context)| Question { question, context };
        match self {
            Self::Pair(first, second) => Ok(vec![question((first, second))]),
            Self::Pairs(pairs) => Ok(pairs.into_iter().map(question).collect()),
            other => Err(other.does_not_fit(
                task.name(),
                "a question with its context: `run((question, context))`, or `PipelineInput::Pairs(…)`",
            )),
        }
    }
}

/// Labels with commas between them.
fn split_labels(labels: &str) -> Vec<String> {
    let labels = labels.split(',').map(str::trim);
    labels
        .filter(|label| !label.is_empty())
        .map(str::to_owned)
        .collect()
}

impl From<&str> for PipelineInput {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for PipelineInput {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for PipelineInput {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&Messages> for PipelineInput {
    fn from(messages: &Messages) -> Self {
        Self::Chat(messages.clone())
    }
}

impl From<&Vec<Messages>> for PipelineInput {
    fn from(chats: &Vec<Messages>) -> Self {
        Self::Chats(chats.clone())
    }
}

impl<const N: usize> From<[&Messages; N]> for PipelineInput {
    fn from(chats: [&Messages; N]) -> Self {
        Self::Chats(chats.into_iter().cloned().collect())
    }
}

fn owned<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Vec<String> {
    texts
        .into_iter()
        .map(|text| text.as_ref().to_owned())
        .collect()
}

impl<S: AsRef<str>, const N: usize> From<[S; N]> for PipelineInput {
    fn from(texts: [S; N]) -> Self {
        Self::Texts(owned(texts))
    }
}

impl<S: AsRef<str>> From<Vec<S>> for PipelineInput {
    fn from(texts: Vec<S>) -> Self {
        Self::Texts(owned(texts))
    }
}

impl<S: AsRef<str>> From<&[S]> for PipelineInput {
    fn from(texts: &[S]) -> Self {
        Self::Texts(owned(texts))
    }
}

impl<S: AsRef<str>> From<&Vec<S>> for PipelineInput {
    fn from(texts: &Vec<S>) -> Self {
        Self::Texts(owned(texts))
    }
}

impl<A: AsRef<str>> From<(A, &str)> for PipelineInput {
    fn from((first, second): (A, &str)) -> Self {
        Self::Pair(first.as_ref().to_owned(), second.to_owned())
    }
}

impl<A: AsRef<str>> From<(A, &String)> for PipelineInput {
    fn from((first, second): (A, &String)) -> Self {
        Self::Pair(first.as_ref().to_owned(), second.clone())
    }
}

impl<A: AsRef<str>, S: AsRef<str>, const N: usize> From<(A, [S; N])> for PipelineInput {
    fn from((text, labels): (A, [S; N])) -> Self {
        Self::Labelled(text.as_ref().to_owned(), owned(labels))
    }
}

impl<A: AsRef<str>, S: AsRef<str>> From<(A, Vec<S>)> for PipelineInput {
    fn from((text, labels): (A, Vec<S>)) -> Self {
        Self::Labelled(text.as_ref().to_owned(), owned(labels))
    }
}
