//! What Rust values pipelines take: texts of every kind, tuples, lists and conversations become a
//! [`PipelineInput`], names become choices.

use std::borrow::Cow;

use wire::{
    FailureKind,
    pipeline::{Aggregation, ScoreFunction},
    tokenize::Padding,
};

use super::PipelineInput;
use crate::{Error, Messages, Result};

/// A text, owned or borrowed.
pub trait Text {
    /// It, owned.
    fn into_text(self) -> String;
}

/// One text, or a list of texts.
pub trait IntoTexts {
    /// Which of the two.
    fn into_texts(self) -> Texts;
}

/// What an [`IntoTexts`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Texts {
    /// One text.
    One(String),
    /// A list of texts.
    Many(Vec<String>),
}

impl Texts {
    /// Labels: a list, or one text with commas between them, as in transformers.
    pub(super) fn into_labels(self) -> Vec<String> {
        match self {
            Self::One(labels) => split_labels(&labels),
            Self::Many(labels) => labels,
        }
    }

    /// A list, be it of one.
    pub(super) fn into_list(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// Labels with commas between them.
pub(super) fn split_labels(labels: &str) -> Vec<String> {
    let labels = labels.split(',').map(str::trim);
    labels
        .filter(|label| !label.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What a pipeline takes lists of.
pub trait InputItem: Sized {
    /// A list of such.
    fn list(items: Vec<Self>) -> PipelineInput;
}

/// For each type of text: it is one, a pipeline's input, and an item of a list of inputs.
macro_rules! texts {
    ($($type:ty),* $(,)?) => {$(
        impl Text for $type {
            fn into_text(self) -> String {
                let text: &str = self.as_ref();
                text.to_owned()
            }
        }

        impl IntoTexts for $type {
            fn into_texts(self) -> Texts {
                Texts::One(self.into_text())
            }
        }

        impl InputItem for $type {
            fn list(items: Vec<Self>) -> PipelineInput {
                PipelineInput::Texts(items.into_iter().map(Text::into_text).collect())
            }
        }

        impl From<$type> for PipelineInput {
            fn from(text: $type) -> Self {
                Self::Text(text.into_text())
            }
        }
    )*};
}

texts!(&str, String, &String, Box<str>, Cow<'_, str>);

impl<T: Text, const N: usize> IntoTexts for [T; N] {
    fn into_texts(self) -> Texts {
        Texts::Many(self.into_iter().map(Text::into_text).collect())
    }
}

impl<T: Text> IntoTexts for Vec<T> {
    fn into_texts(self) -> Texts {
        Texts::Many(self.into_iter().map(Text::into_text).collect())
    }
}

impl<T: Text + Clone> IntoTexts for &[T] {
    fn into_texts(self) -> Texts {
        self.to_vec().into_texts()
    }
}

impl<T: Text + Clone> IntoTexts for &Vec<T> {
    fn into_texts(self) -> Texts {
        self.clone().into_texts()
    }
}

impl<T: Text + Clone, const N: usize> IntoTexts for &[T; N] {
    fn into_texts(self) -> Texts {
        self.clone().into_texts()
    }
}

/// A question and its context, two texts to classify together, a text with labels; and lists in the place
/// of either.
impl<A: IntoTexts, B: IntoTexts> From<(A, B)> for PipelineInput {
    fn from((first, second): (A, B)) -> Self {
        match (first.into_texts(), second.into_texts()) {
            (Texts::One(first), Texts::One(second)) => Self::Pair(first, second),
            (Texts::One(text), Texts::Many(labels)) => Self::Labelled(text, labels),
            (Texts::Many(texts), Texts::Many(labels)) => Self::AllLabelled(texts, labels),
            (Texts::Many(texts), Texts::One(text)) => Self::About(texts, text),
        }
    }
}

impl<A: Text, B: Text> InputItem for (A, B) {
    fn list(items: Vec<Self>) -> PipelineInput {
        let pairs = items.into_iter();
        let pairs = pairs.map(|(first, second)| (first.into_text(), second.into_text()));
        PipelineInput::Pairs(pairs.collect())
    }
}

impl InputItem for Messages {
    fn list(items: Vec<Self>) -> PipelineInput {
        PipelineInput::Chats(items)
    }
}

impl InputItem for &Messages {
    fn list(items: Vec<Self>) -> PipelineInput {
        PipelineInput::Chats(items.into_iter().cloned().collect())
    }
}

impl From<Messages> for PipelineInput {
    fn from(messages: Messages) -> Self {
        Self::Chat(messages)
    }
}

impl From<&Messages> for PipelineInput {
    fn from(messages: &Messages) -> Self {
        Self::Chat(messages.clone())
    }
}

impl<T: InputItem, const N: usize> From<[T; N]> for PipelineInput {
    fn from(items: [T; N]) -> Self {
        T::list(items.into_iter().collect())
    }
}

impl<T: InputItem + Clone, const N: usize> From<&[T; N]> for PipelineInput {
    fn from(items: &[T; N]) -> Self {
        T::list(items.to_vec())
    }
}

impl<T: InputItem> From<Vec<T>> for PipelineInput {
    fn from(items: Vec<T>) -> Self {
        T::list(items)
    }
}

impl<T: InputItem + Clone> From<&[T]> for PipelineInput {
    fn from(items: &[T]) -> Self {
        T::list(items.to_vec())
    }
}

impl<T: InputItem + Clone> From<&Vec<T>> for PipelineInput {
    fn from(items: &Vec<T>) -> Self {
        T::list(items.clone())
    }
}

/// A choice, by itself or by transformers' name of it.
pub trait IntoChoice<T> {
    /// The choice.
    ///
    /// # Errors
    /// There is none of this name.
    fn into_choice(self) -> Result<T>;
}

/// Choices with their names, in any case of letters.
macro_rules! choices {
    ($type:ident, $argument:literal: $($name:literal => $choice:ident),* $(,)?) => {
        impl IntoChoice<$type> for $type {
            fn into_choice(self) -> Result<$type> {
                Ok(self)
            }
        }

        impl IntoChoice<$type> for &str {
            fn into_choice(self) -> Result<$type> {
                match self.to_lowercase().as_str() {
                    $($name => Ok($type::$choice),)*
                    _ => Err(unknown($argument, self, &[$($name),*])),
                }
            }
        }
    };
}

choices!(Aggregation, "aggregation_strategy":
    "none" => None, "simple" => Simple, "first" => First, "average" => Average, "max" => Max);
choices!(ScoreFunction, "function_to_apply":
    "sigmoid" => Sigmoid, "softmax" => Softmax, "none" => None);
choices!(Padding, "padding":
    "do_not_pad" => DoNotPad, "longest" => Longest, "max_length" => MaxLength);

fn unknown(argument: &str, value: &str, known: &[&str]) -> Error {
    Error::new(
        FailureKind::InvalidArgument,
        format!("`{argument}` is \"{value}\", which is none of its values"),
    )
    .with_hint(format!("its values: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages;

    fn shown(input: impl Into<PipelineInput>) -> String {
        format!("{:?}", input.into())
    }

    #[test]
    fn ordinary_values_are_inputs() {
        let owned = "b".to_owned();
        let pair = r#"Pair("a", "b")"#;
        assert_eq!(shown(("a", "b")), pair);
        assert_eq!(shown(("a", owned.clone())), pair);
        assert_eq!(shown(("a".to_owned(), &owned)), pair);
        assert_eq!(shown((&"a".to_owned(), "b")), pair);
        assert_eq!(shown([("a", "b")]), r#"Pairs([("a", "b")])"#);
        assert_eq!(shown(vec![("a", owned.clone())]), r#"Pairs([("a", "b")])"#);
        assert_eq!(shown(("a", ["x", "y"])), r#"Labelled("a", ["x", "y"])"#);
        assert_eq!(shown(("a", vec![owned.clone()])), r#"Labelled("a", ["b"])"#);
        assert_eq!(
            shown((["a", "b"], ["x", "y"])),
            r#"AllLabelled(["a", "b"], ["x", "y"])"#
        );
        assert_eq!(shown((vec!["a", "b"], "c")), r#"About(["a", "b"], "c")"#);
        assert_eq!(shown(["a", "b"]), r#"Texts(["a", "b"])"#);
        let texts = vec![owned.clone(), owned];
        assert_eq!(shown(&texts), r#"Texts(["b", "b"])"#);
        assert_eq!(shown(&texts[..1]), r#"Texts(["b"])"#);
        let chat = messages![user: "Hello"];
        assert_eq!(shown(&chat), shown(chat.clone()));
        assert_eq!(shown([&chat]), shown(vec![chat.clone()]));
        assert_eq!(shown(vec![chat.clone()]), shown([chat]));
    }

    #[test]
    fn labels_may_have_commas_between() {
        let labels = ["a", "b"];
        assert_eq!("a, b,".into_texts().into_labels(), labels);
        assert_eq!(labels.into_texts().into_labels(), labels);
        assert_eq!(["a, b"].into_texts().into_labels(), ["a, b"]);
        assert_eq!("word".into_texts().into_list(), ["word"]);
    }

    #[test]
    fn choices_have_names() {
        let strategy = IntoChoice::<Aggregation>::into_choice;
        assert_eq!(strategy("Average"), Ok(Aggregation::Average));
        assert_eq!(Aggregation::Max.into_choice(), Ok(Aggregation::Max));
        let function: Result<ScoreFunction> = "SOFTMAX".into_choice();
        assert_eq!(function, Ok(ScoreFunction::Softmax));
        let error = strategy("simpel").expect_err("is none");
        assert!(
            error
                .message()
                .contains("`aggregation_strategy` is \"simpel\"")
        );
        assert_eq!(
            error.hint(),
            Some("its values: none, simple, first, average, max")
        );
    }
}
