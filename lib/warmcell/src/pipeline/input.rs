//! What pipelines are given: a text or several, pairs, a text with labels, a conversation. Which of them
//! a task takes, the task says when it is run.

use wire::{
    FailureKind,
    pipeline::{FeatureOptions, PipelineCall, Question},
    tokenize::TextInput,
};

use super::{Task, arguments::Arguments, conversions::split_labels};
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
    /// Several pairs.
    Pairs(Vec<(String, String)>),
    /// A text, and labels to choose among.
    Labelled(String, Vec<String>),
    /// Texts, and labels to choose among for each; or questions, each with its context.
    AllLabelled(Vec<String>, Vec<String>),
    /// Several questions about one context; or texts, with commas between the labels of all.
    About(Vec<String>, String),
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
            Self::Texts(_)
                | Self::Pairs(_)
                | Self::AllLabelled(..)
                | Self::About(..)
                | Self::Words(_)
                | Self::Chats(_)
        )
    }

    pub(super) fn does_not_fit(&self, task: &str, takes: &str) -> Error {
        let what = match self {
            Self::Text(_) => "one text",
            Self::Texts(_) => "a list of texts",
            Self::Pair(..) => "two texts",
            Self::Pairs(_) => "pairs of texts",
            Self::Labelled(..) => "a text with a list",
            Self::AllLabelled(..) => "two lists of texts",
            Self::About(..) => "a list of texts with a text",
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
                let mut options = arguments.entities();
                let inputs = match self {
                    Self::Words(words) => {
                        options.words = words;
                        let words = options.words.iter();
                        words.map(|words| words.join(&options.delimiter)).collect()
                    }
                    other => other.texts(task)?,
                };
                if inputs.is_empty() {
                    return Err(Error::new(
                        FailureKind::InvalidArgument,
                        "At least one input is required.",
                    )
                    .with_hint("give a text, or a list with a text in it"));
                }
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
                    Self::AllLabelled(texts, labels) => {
                        options.candidate_labels = labels;
                        texts
                    }
                    Self::About(texts, labels) => {
                        options.candidate_labels = split_labels(&labels);
                        texts
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
                options: FeatureOptions {
                    max_length: arguments.writing.generation.max_length,
                    ..arguments.features
                },
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
            Self::About(questions, context) => {
                let pairs = questions.into_iter().map(|own| (own, context.clone()));
                Ok(pairs.map(question).collect())
            }
            Self::AllLabelled(questions, contexts) if questions.len() == contexts.len() => {
                Ok(questions.into_iter().zip(contexts).map(question).collect())
            }
            Self::AllLabelled(questions, contexts) => Err(Error::new(
                FailureKind::InvalidArgument,
                format!(
                    "there are {} questions and {} contexts",
                    questions.len(),
                    contexts.len()
                ),
            )
            .with_hint("give each question its context, or all of them one")),
            other => Err(other.does_not_fit(
                task.name(),
                "a question with its context, `run((question, context))`, a list of such pairs, or \
                 several questions about one context",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::pipeline::EncoderTask;

    use super::*;

    #[test]
    fn no_text_is_no_input_of_token_classification() {
        let none = PipelineInput::Texts(Vec::new());
        let task = Task::Encoder(EncoderTask::TokenClassification);
        let error = none.into_call(task, &Arguments::default());
        let error = error.expect_err("there is none");
        assert_eq!(error.message(), "At least one input is required.");
    }

    #[test]
    fn questions_have_one_context_or_each_its_own() {
        let task = Task::Encoder(EncoderTask::QuestionAnswering);
        let call = |input: PipelineInput| input.into_call(task, &Arguments::default());
        let contexts = |input: PipelineInput| match call(input) {
            Ok(PipelineCall::QuestionAnswering { inputs, .. }) => {
                inputs.into_iter().map(|one| one.context).collect()
            }
            _ => Vec::new(),
        };
        assert_eq!(contexts((["a?", "b?"], "c").into()), ["c", "c"]);
        assert_eq!(contexts((["a?", "b?"], ["c", "d"]).into()), ["c", "d"]);
        assert_eq!(contexts([("a?", "c"), ("b?", "d")].into()), ["c", "d"]);
        let error = call((["a?", "b?"], ["c"]).into()).expect_err("one has none");
        assert_eq!(error.message(), "there are 2 questions and 1 contexts");
    }
}
