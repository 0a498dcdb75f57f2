//! What pipelines give: typed results of each task, shown beside what they are of, and written to JSON
//! in the shape of transformers' dictionaries.

use std::fmt;

use ::display::{Json, PipelineResults, RichDisplay};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use wire::{
    array::Array,
    mime::Bundle,
    pipeline::{Answer, Entity, LabelScore, MaskGuess, PipelineAnswer, PipelineCall, Ranking},
    text_generation::GeneratedText,
    text2text::WrittenText,
};

use super::{TextGeneration, text_generation::Tokens};

/// What a pipeline gave. Its methods give the results of one task each, and `None` of another's; all
/// have one entry an input.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineOutput(pub(super) Output);

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Output {
    pub call: PipelineCall,
    pub answer: PipelineAnswer,
    /// The answer, where it is texts that were generated.
    pub generations: Vec<Vec<TextGeneration>>,
    /// One input, not a list of one.
    pub single: bool,
    /// One label a text, as when no `top_k` is given.
    pub plain: bool,
    /// Tokens in JSON in the place of texts.
    pub tensors: bool,
}

/// What was generated for each input; nothing in other answers.
pub(super) fn generations(answer: &PipelineAnswer) -> Vec<Vec<TextGeneration>> {
    let PipelineAnswer::Generations(found) = answer else {
        return Vec::new();
    };
    let texts = |texts: &Vec<GeneratedText>| texts.iter().cloned().map(Into::into).collect();
    found.iter().map(texts).collect()
}

impl PipelineOutput {
    /// As transformers' Python objects would be in JSON.
    #[must_use]
    pub fn json(&self) -> Json {
        // Numbers and texts alone: it cannot fail.
        Json(serde_json::to_value(self).unwrap_or_default())
    }

    /// Of `text-generation`: the first result, which is the only one of one input without
    /// `num_return_sequences`.
    pub fn generation(&self) -> Option<&TextGeneration> {
        self.0.generations.first()?.first()
    }

    /// Of `text-generation`: what was generated for each input, the best first.
    pub fn generations(&self) -> Option<&[Vec<TextGeneration>]> {
        match &self.0.answer {
            PipelineAnswer::Generations(_) => Some(&self.0.generations),
            _ => None,
        }
    }

    /// Whether it is of a pair of texts.
    fn is_pair(&self) -> bool {
        let PipelineCall::TextClassification { inputs, .. } = &self.0.call else {
            return false;
        };
        inputs.iter().any(|input| input.pair.is_some())
    }

    /// The result, where it is one generated text.
    fn only_generation(&self) -> Option<&TextGeneration> {
        match self.0.generations.as_slice() {
            [one] if self.0.single && one.len() == 1 => one.first(),
            _ => None,
        }
    }

    fn results(&self) -> PipelineResults<'_> {
        let Output { call, answer, .. } = &self.0;
        PipelineResults { call, answer }
    }

    /// Of `text-classification`: each text's labels, the likeliest first.
    pub fn labels(&self) -> Option<&[Vec<LabelScore>]> {
        match &self.0.answer {
            PipelineAnswer::Labels(labels) => Some(labels),
            _ => None,
        }
    }

    /// Of `token-classification`: each text's entities.
    pub fn entities(&self) -> Option<&[Vec<Entity>]> {
        match &self.0.answer {
            PipelineAnswer::Entities(entities) => Some(entities),
            _ => None,
        }
    }

    /// Of `question-answering`: each question's answers, the likeliest first.
    pub fn answers(&self) -> Option<&[Vec<Answer>]> {
        match &self.0.answer {
            PipelineAnswer::Answers(answers) => Some(answers),
            _ => None,
        }
    }

    /// Of `zero-shot-classification`: each text's labels, the likeliest first.
    pub fn rankings(&self) -> Option<&[Ranking]> {
        match &self.0.answer {
            PipelineAnswer::Rankings(rankings) => Some(rankings),
            _ => None,
        }
    }

    /// Of `fill-mask`: for each text, for each of its masks, the guesses, the likeliest first.
    pub fn masks(&self) -> Option<&[Vec<Vec<MaskGuess>>]> {
        match &self.0.answer {
            PipelineAnswer::Masks(masks) => Some(masks),
            _ => None,
        }
    }

    /// Of [`Pipeline::embeddings`](super::Pipeline::embeddings): one vector a text, `(texts, hidden)`.
    pub fn embeddings(&self) -> Option<&Array> {
        match &self.0.answer {
            PipelineAnswer::Embeddings(array) => Some(array),
            _ => None,
        }
    }

    /// Of `feature-extraction`: each text's last hidden states, `(tokens, hidden)`.
    pub fn features(&self) -> Option<&[Array]> {
        match &self.0.answer {
            PipelineAnswer::Features(features) => Some(features),
            _ => None,
        }
    }

    /// Of `summarization`, `translation` and `text2text-generation`: what was written about each text, the
    /// best first.
    pub fn texts(&self) -> Option<&[Vec<WrittenText>]> {
        match &self.0.answer {
            PipelineAnswer::Texts(texts) => Some(texts),
            _ => None,
        }
    }
}

impl RichDisplay for PipelineOutput {
    fn bundle(&self) -> Bundle {
        match self.only_generation() {
            Some(one) => one.bundle(),
            None => self.results().bundle(),
        }
    }
}

impl fmt::Display for PipelineOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.only_generation() {
            Some(one) => one.fmt(f),
            None => f.write_str(&self.results().text()),
        }
    }
}

/// In the shape that transformers gives: one input's result by itself, a list's as a list.
impl Serialize for PipelineOutput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Output {
            answer,
            generations,
            single,
            plain,
            tensors,
            ..
        } = &self.0;
        let (single, plain) = (*single, *plain);
        if let PipelineCall::Text2Text { options, .. } = &self.0.call
            && let PipelineAnswer::Texts(found) = answer
        {
            let form = (options.task.key(), *tensors);
            return written_texts(found, form, single, serializer);
        }
        match answer {
            // One pair is a dictionary in transformers, and its result is not put into a list.
            PipelineAnswer::Labels(found) if plain && single && self.is_pair() => {
                let found: Vec<OneOrMany<LabelScore>> =
                    found.iter().map(|own| OneOrMany(own)).collect();
                one_or_all(&found, true, serializer)
            }
            // All labels of a text, unasked: the configuration's `return_all_scores`.
            PipelineAnswer::Labels(found) if plain && found.iter().any(|own| own.len() > 1) => {
                found.serialize(serializer)
            }
            PipelineAnswer::Labels(found) if plain && !single => {
                let first = found.iter().filter_map(|labels| labels.first());
                serializer.collect_seq(first)
            }
            PipelineAnswer::Labels(found) => one_or_all(found, single, serializer),
            PipelineAnswer::Entities(found) => one_or_all(found, single, serializer),
            PipelineAnswer::Answers(found) => {
                // A list of one question is unwrapped there too.
                let found: Vec<OneOrMany<Answer>> =
                    found.iter().map(|own| OneOrMany(own)).collect();
                one_or_all(&found, true, serializer)
            }
            PipelineAnswer::Rankings(found) => one_or_all(found, single, serializer),
            PipelineAnswer::Masks(found) => {
                let found: Vec<OneOrMany<Vec<MaskGuess>>> =
                    found.iter().map(|own| OneOrMany(own)).collect();
                one_or_all(&found, true, serializer)
            }
            PipelineAnswer::Features(found) => {
                let found: Vec<[Rows; 1]> = found.iter().map(|array| [Rows(array)]).collect();
                one_or_all(&found, single, serializer)
            }
            PipelineAnswer::Texts(found) => one_or_all(found, single, serializer),
            PipelineAnswer::Generations(_) if *tensors => {
                let lists = generations
                    .iter()
                    .map(|texts| texts.iter().map(Tokens).collect());
                let lists: Vec<Vec<Tokens>> = lists.collect();
                one_or_all(&lists, single, serializer)
            }
            PipelineAnswer::Generations(_) => one_or_all(generations, single, serializer),
            PipelineAnswer::Embeddings(found) => match found.at(&[0]) {
                Some(one) if single => one.serialize(serializer),
                _ => Rows(found).serialize(serializer),
            },
        }
    }
}

fn one_or_all<T: Serialize, S: Serializer>(
    found: &[T],
    single: bool,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match found {
        [one] if single => one.serialize(serializer),
        all => all.serialize(serializer),
    }
}

/// A list of an input's dictionaries; of several inputs with one each, these in one list.
fn written_texts<S: Serializer>(
    found: &[Vec<WrittenText>],
    form: (&str, bool),
    single: bool,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let lists = found.iter().map(|texts| {
        let texts = texts.iter();
        texts
            .map(|written| WrittenEntry { written, form })
            .collect()
    });
    let lists: Vec<Vec<WrittenEntry>> = lists.collect();
    match lists.as_slice() {
        [one] if single => one.serialize(serializer),
        all if all.iter().all(|texts| texts.len() == 1) => {
            serializer.collect_seq(all.iter().flatten())
        }
        all => all.serialize(serializer),
    }
}

/// `{"summary_text": …}`, or `{"summary_token_ids": …}`.
struct WrittenEntry<'a> {
    written: &'a WrittenText,
    form: (&'a str, bool),
}

impl Serialize for WrittenEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, tensors) = self.form;
        let mut map = serializer.serialize_map(Some(1))?;
        if tensors {
            map.serialize_entry(&format!("{key}_token_ids"), &self.written.token_ids)?;
        } else {
            map.serialize_entry(&format!("{key}_text"), &self.written.text)?;
        }
        map.end()
    }
}

/// One by itself, several as a list.
struct OneOrMany<'a, T>(&'a [T]);

impl<T: Serialize> Serialize for OneOrMany<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        one_or_all(self.0, true, serializer)
    }
}

/// An array as lists in a list.
struct Rows<'a>(&'a Array);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let width = self.0.shape().last().copied().unwrap_or(1).max(1);
        let rows = self.0.values().chunks(width);
        let mut list = serializer.serialize_seq(Some(rows.len()))?;
        for row in rows {
            list.serialize_element(row)?;
        }
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use wire::{
        pipeline::{AnswerOptions, ClassificationOptions, Question},
        text::ChatMessage,
        text2text::{Text2TextOptions, Text2TextTask},
    };

    use super::*;

    fn label(label: &str, score: f64) -> LabelScore {
        LabelScore {
            label: label.to_owned(),
            score,
        }
    }

    fn labels(answer: Vec<Vec<LabelScore>>, single: bool, plain: bool) -> String {
        let inputs = answer.iter().map(|_| "text".into()).collect();
        let options = ClassificationOptions::default();
        written(Output {
            generations: Vec::new(),
            call: PipelineCall::TextClassification { inputs, options },
            answer: PipelineAnswer::Labels(answer),
            single,
            plain,
            tensors: false,
        })
    }

    fn written(output: Output) -> String {
        serde_json::to_string(&PipelineOutput(output)).expect("is written")
    }

    /// The shapes that `TextClassificationPipeline.__call__` gives with and without `top_k`.
    #[test]
    fn labels_have_transformers_shapes() {
        let (yes, no) = (label("YES", 0.75), label("NO", 0.25));
        let (a, b) = (
            r#"{"label":"YES","score":0.75}"#,
            r#"{"label":"NO","score":0.25}"#,
        );
        assert_eq!(
            labels(vec![vec![yes.clone()]], true, true),
            format!("[{a}]")
        );
        let two = vec![vec![yes.clone()], vec![no.clone()]];
        assert_eq!(labels(two.clone(), false, true), format!("[{a},{b}]"));
        assert_eq!(labels(two, false, false), format!("[[{a}],[{b}]]"));
        assert_eq!(
            labels(vec![vec![yes.clone(), no.clone()]], true, false),
            format!("[{a},{b}]")
        );
        // A pair: `pipe({"text": …, "text_pair": …})`, `pipe([{…}])`, the same with `top_k=None`.
        let pairs = |answer: Vec<Vec<LabelScore>>, single, plain| {
            let pair = || ("text", "pair").into();
            written(Output {
                generations: Vec::new(),
                call: PipelineCall::TextClassification {
                    inputs: answer.iter().map(|_| pair()).collect(),
                    options: ClassificationOptions::default(),
                },
                answer: PipelineAnswer::Labels(answer),
                single,
                plain,
                tensors: false,
            })
        };
        let one = vec![vec![yes.clone()]];
        assert_eq!(pairs(one.clone(), true, true), a);
        assert_eq!(pairs(one, false, true), format!("[{a}]"));
        let both = vec![vec![yes.clone(), no.clone()]];
        assert_eq!(pairs(both.clone(), true, false), format!("[{a},{b}]"));
        assert_eq!(pairs(both.clone(), true, true), format!("[{a},{b}]"));
        assert_eq!(pairs(both, false, false), format!("[[{a},{b}]]"));
        // With `return_all_scores` in the configuration.
        for single in [true, false] {
            let all = vec![vec![yes.clone(), no.clone()]];
            assert_eq!(labels(all, single, true), format!("[[{a},{b}]]"));
        }
    }

    /// The shapes that `Text2TextGenerationPipeline.__call__` gives.
    #[test]
    fn texts_have_transformers_shapes() {
        let text = |text: &str| WrittenText {
            text: text.to_owned(),
            token_ids: vec![0, 7],
            tokens: 1,
            source_tokens: 3,
            streamed: None,
        };
        let texts = |answer: Vec<Vec<WrittenText>>, single, tensors| {
            let options = Text2TextOptions {
                task: Text2TextTask::Summarization,
                ..Text2TextOptions::default()
            };
            written(Output {
                generations: Vec::new(),
                call: PipelineCall::Text2Text {
                    inputs: vec![String::new(); answer.len()],
                    options: Box::new(options),
                },
                answer: PipelineAnswer::Texts(answer),
                single,
                plain: true,
                tensors,
            })
        };
        let (one, other) = (vec![text("a")], vec![text("b")]);
        assert_eq!(
            texts(vec![one.clone()], true, false),
            r#"[{"summary_text":"a"}]"#
        );
        assert_eq!(
            texts(vec![one.clone()], true, true),
            r#"[{"summary_token_ids":[0,7]}]"#
        );
        assert_eq!(
            texts(vec![one, other], false, false),
            r#"[{"summary_text":"a"},{"summary_text":"b"}]"#
        );
        let two = vec![text("a"), text("b")];
        assert_eq!(
            texts(vec![two.clone(), two], false, false),
            r#"[[{"summary_text":"a"},{"summary_text":"b"}],[{"summary_text":"a"},{"summary_text":"b"}]]"#
        );
    }

    /// The shapes that `TextGenerationPipeline.__call__` gives.
    #[test]
    fn generations_have_transformers_shapes() {
        let text = |text: &str, messages| GeneratedText {
            text: text.to_owned(),
            messages,
            token_ids: vec![0, 7],
            tokens: 1,
            prompt_tokens: 1,
            streamed: None,
        };
        let texts = |found: Vec<Vec<GeneratedText>>, single, tensors| {
            let answer = PipelineAnswer::Generations(found);
            written(Output {
                generations: generations(&answer),
                call: PipelineCall::TextGeneration {
                    inputs: Vec::new(),
                    options: Box::default(),
                },
                answer,
                single,
                plain: true,
                tensors,
            })
        };
        let (a, b) = (r#"{"generated_text":"a"}"#, r#"{"generated_text":"b"}"#);
        let both = vec![text("a", None), text("b", None)];
        assert_eq!(texts(vec![both.clone()], true, false), format!("[{a},{b}]"));
        let lists = both.into_iter().map(|one| vec![one]).collect();
        assert_eq!(texts(lists, false, false), format!("[[{a}],[{b}]]"));
        let chat = vec![ChatMessage::new("assistant", "a")];
        let chat = vec![vec![text("a", Some(chat))]];
        assert_eq!(
            texts(chat.clone(), true, false),
            r#"[{"generated_text":[{"role":"assistant","content":"a"}]}]"#
        );
        assert_eq!(
            texts(chat, true, true),
            r#"[{"generated_token_ids":[0,7]}]"#
        );
    }

    /// One answer is a dictionary, several are a list.
    #[test]
    fn answers_have_transformers_shapes() {
        let answer = Answer {
            score: 0.5,
            start: 0,
            end: 2,
            answer: "AI".to_owned(),
        };
        let one = r#"{"score":0.5,"start":0,"end":2,"answer":"AI"}"#;
        let answers = |answers: Vec<Answer>| {
            written(Output {
                generations: Vec::new(),
                call: PipelineCall::QuestionAnswering {
                    inputs: vec![Question {
                        question: "What?".to_owned(),
                        context: "AI".to_owned(),
                    }],
                    options: AnswerOptions::default(),
                },
                answer: PipelineAnswer::Answers(vec![answers]),
                single: true,
                plain: true,
                tensors: false,
            })
        };
        assert_eq!(answers(vec![answer.clone()]), one);
        assert_eq!(
            answers(vec![answer.clone(), answer]),
            format!("[{one},{one}]")
        );
    }
}
