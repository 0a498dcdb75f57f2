//! The line of `%%pipeline`, and the call that it makes of a cell: a task, a model, and arguments under
//! transformers' names, as Python or JSON writes their values.

use serde_json::{Value, json};
use wire::{
    generate::GenerationConfig,
    pipeline::{
        Aggregation, AnswerOptions, ClassificationOptions, EncoderTask, EntityOptions,
        FeatureOptions, MaskOptions, PipelineCall, PipelineTask, Question, ScoreFunction, TopK,
        ZeroShotOptions,
    },
    task::languages,
    text_generation::GenerationInput,
    text2text::Text2TextOptions,
};

/// Arguments whose values a line cannot say, that change nothing about what is shown, or that another
/// argument says.
const UNSAID: [&str; 15] = [
    "assistant_confidence_threshold",
    "assistant_model",
    "decoder_start_token_id",
    "generation_config",
    "grouped_entities",
    "ignore_subwords",
    "max_question_len",
    "num_assistant_tokens",
    "on_token",
    "padding",
    "prompt",
    "prompt_name",
    "return_tensors",
    "return_text",
    "streamer",
];
/// Arguments that are texts, whatever they look like.
const TEXTS: [&str; 5] = [
    "prefix",
    "stop_sequence",
    "stop_strings",
    "src_lang",
    "tgt_lang",
];

/// What the line says.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    /// The task by the name that was written.
    pub task: String,
    /// The model and its options, as `%load` takes them; empty for the default.
    pub model: String,
    /// Each line is an input.
    pub by_lines: bool,
    /// Names and values.
    pub arguments: Vec<(String, String)>,
}

/// Names of the arguments that a task has here.
pub(super) fn names(task: PipelineTask) -> Vec<&'static str> {
    let mut names = task.arguments();
    names.retain(|name| !UNSAID.contains(name));
    names.push("tokenizer");
    names
}

/// Reads the line.
pub(super) fn read(line: &str) -> Result<Asked, String> {
    let mut words = words(line)?.into_iter();
    let task = words.next().ok_or("which task?")?;
    let mut asked = Asked {
        task,
        model: String::new(),
        by_lines: false,
        arguments: Vec::new(),
    };
    for word in words {
        match word.split_once('=') {
            _ if word == "--lines" => asked.by_lines = true,
            Some((name, value)) if name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                asked.arguments.push((name.to_owned(), value.to_owned()));
            }
            _ if asked.model.is_empty() && word.starts_with('-') => {
                return Err(format!("`{word}` stands behind a model"));
            }
            _ => {
                if !asked.model.is_empty() {
                    asked.model.push(' ');
                }
                asked.model.push_str(&word);
            }
        }
    }
    Ok(asked)
}

/// Words with blanks between them, but for those within quotes, which go.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match quote {
            Some(open) if character == open => quote = None,
            None if matches!(character, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            None if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

/// The call, and how many inputs are computed at once.
pub(super) fn call(
    asked: &Asked,
    task: PipelineTask,
    body: &str,
) -> Result<(PipelineCall, Option<u32>), String> {
    let mut call = on(task, &asked.task, inputs(asked, body)?)?;
    let mut batch_size = None;
    for (name, text) in &asked.arguments {
        if name == "tokenizer" {
            continue;
        }
        if !names(task).contains(&name.as_str()) {
            let known = names(task).join(", ");
            return Err(format!(
                "`{}` has no argument `{name}`; it has {known}",
                task.name()
            ));
        }
        let argument = Argument { name, text };
        if name == "batch_size" {
            batch_size = Some(argument.number()?);
        } else {
            argument.set(&mut call)?;
        }
    }
    if let PipelineCall::ZeroShotClassification { options, .. } = &call
        && options.candidate_labels.is_empty()
    {
        return Err("it needs labels: `candidate_labels=\"one label, another\"`".to_owned());
    }
    Ok((call, batch_size))
}

fn inputs(asked: &Asked, body: &str) -> Result<Vec<String>, String> {
    let texts: Vec<String> = if asked.by_lines {
        let lines = body.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    } else {
        // The line's end is the cell's, not the text's.
        vec![body.trim_end_matches(['\n', '\r']).to_owned()]
    };
    if texts.iter().all(|text| text.trim().is_empty()) {
        return Err("the cell says nothing".to_owned());
    }
    Ok(texts)
}

/// The task's call on these inputs, with what is not set as transformers has it.
fn on(task: PipelineTask, written: &str, inputs: Vec<String>) -> Result<PipelineCall, String> {
    let task = match task {
        PipelineTask::TextGeneration => {
            return Ok(PipelineCall::TextGeneration {
                inputs: inputs.into_iter().map(GenerationInput::Text).collect(),
                options: Box::default(),
            });
        }
        PipelineTask::Text2Text(task) => {
            let options = Text2TextOptions {
                task,
                pair: languages(written),
                ..Text2TextOptions::default()
            };
            return Ok(PipelineCall::Text2Text {
                inputs,
                options: Box::new(options),
            });
        }
        PipelineTask::Encoder(task) => task,
    };
    Ok(match task {
        EncoderTask::TextClassification => PipelineCall::TextClassification {
            inputs: inputs.into_iter().map(Into::into).collect(),
            options: ClassificationOptions::default(),
        },
        EncoderTask::TokenClassification => PipelineCall::TokenClassification {
            inputs,
            options: EntityOptions::default(),
        },
        EncoderTask::QuestionAnswering => PipelineCall::QuestionAnswering {
            inputs: vec![question(&inputs)?],
            options: AnswerOptions::default(),
        },
        EncoderTask::ZeroShotClassification => PipelineCall::ZeroShotClassification {
            inputs,
            options: ZeroShotOptions::default(),
        },
        EncoderTask::FillMask => PipelineCall::FillMask {
            inputs,
            options: MaskOptions::default(),
        },
        EncoderTask::FeatureExtraction => PipelineCall::FeatureExtraction {
            inputs,
            options: FeatureOptions::default(),
        },
    })
}

fn question(inputs: &[String]) -> Result<Question, String> {
    let parts = match inputs {
        [text] => text.trim_start().split_once('\n'),
        _ => return Err("`--lines` does not go with `question-answering`".to_owned()),
    };
    let parts = parts.map(|(question, context)| (question.trim(), context.trim()));
    match parts {
        Some((question, context)) if !question.is_empty() && !context.is_empty() => Ok(Question {
            question: question.to_owned(),
            context: context.to_owned(),
        }),
        _ => Err("the first line is the question, the lines below it the text".to_owned()),
    }
}

/// One argument.
struct Argument<'a> {
    name: &'a str,
    text: &'a str,
}

impl Argument<'_> {
    fn set(&self, call: &mut PipelineCall) -> Result<(), String> {
        match call {
            PipelineCall::TextClassification { options, .. } => match self.name {
                "top_k" => options.top_k = self.count()?.map_or(TopK::All, TopK::Some),
                "return_all_scores" => options.return_all_scores = Some(self.flag()?),
                "function_to_apply" => options.function_to_apply = Some(self.function()?),
                _ => options.truncation = self.flag()?,
            },
            PipelineCall::TokenClassification { options, .. } => match self.name {
                "aggregation_strategy" => options.aggregation_strategy = Some(self.aggregation()?),
                "ignore_labels" => options.ignore_labels = self.list(),
                "stride" => options.stride = Some(self.number()?),
                _ => self.text.clone_into(&mut options.delimiter),
            },
            PipelineCall::QuestionAnswering { options, .. } => match self.name {
                "top_k" => options.top_k = self.number()?,
                "doc_stride" => options.doc_stride = Some(self.number()?),
                "max_answer_len" => options.max_answer_len = self.number()?,
                "max_seq_len" => options.max_seq_len = Some(self.number()?),
                "handle_impossible_answer" => options.handle_impossible_answer = self.flag()?,
                _ => options.align_to_words = self.flag()?,
            },
            PipelineCall::ZeroShotClassification { options, .. } => match self.name {
                "candidate_labels" => options.candidate_labels = self.list(),
                "hypothesis_template" => self.text.clone_into(&mut options.hypothesis_template),
                _ => options.multi_label = self.flag()?,
            },
            PipelineCall::FillMask { options, .. } => match self.name {
                "top_k" => options.top_k = self.number()?,
                "targets" => options.targets = Some(self.list()),
                _ => options.truncation = self.flag()?,
            },
            PipelineCall::FeatureExtraction { options, .. } => match self.name {
                "max_length" => options.max_length = Some(self.number()?),
                "add_special_tokens" => options.add_special_tokens = self.flag()?,
                _ => options.truncation = self.flag()?,
            },
            PipelineCall::Text2Text { options, .. } => match self.name {
                "src_lang" => options.src_lang = Some(self.text.to_owned()),
                "tgt_lang" => options.tgt_lang = Some(self.text.to_owned()),
                "truncation" => options.truncation = self.flag()?,
                "clean_up_tokenization_spaces" => {
                    options.clean_up_tokenization_spaces = self.flag()?;
                }
                "stop_sequence" => options.stop_sequence = Some(self.text.to_owned()),
                _ => options.generation = self.generation()?.or(&options.generation),
            },
            PipelineCall::TextGeneration { options, .. } => match self.name {
                "return_full_text" => options.return_full_text = self.flag()?,
                "prefix" => options.prefix = Some(self.text.to_owned()),
                "handle_long_generation" => options.cuts_beginning = self.cuts_beginning()?,
                "add_special_tokens" => options.add_special_tokens = self.flag()?,
                "skip_special_tokens" => options.skip_special_tokens = self.flag()?,
                "continue_final_message" => options.continue_final_message = Some(self.flag()?),
                "truncation" => options.truncation = self.flag()?,
                "clean_up_tokenization_spaces" => {
                    options.clean_up_tokenization_spaces = self.flag()?;
                }
                "stop_sequence" => options.stop_sequence = Some(self.text.to_owned()),
                _ => options.generation = self.generation()?.or(&options.generation),
            },
            // No cell makes one.
            PipelineCall::Embeddings { .. } => {}
        }
        Ok(())
    }

    fn value(&self) -> Value {
        match self.text {
            "True" => Value::Bool(true),
            "False" => Value::Bool(false),
            "None" => Value::Null,
            text if TEXTS.contains(&self.name) => text.into(),
            text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        }
    }

    /// An option of `generate`.
    fn generation(&self) -> Result<GenerationConfig, String> {
        serde_json::from_value(json!({ self.name: self.value() }))
            .map_err(|reason| format!("`{}={}`: {reason}", self.name, self.text))
    }

    /// `handle_long_generation`, of which there is one way.
    fn cuts_beginning(&self) -> Result<bool, String> {
        match self.text {
            "hole" => Ok(true),
            "None" => Ok(false),
            text => Err(format!("`{}={text}`: it takes `hole`", self.name)),
        }
    }

    fn number(&self) -> Result<u32, String> {
        self.text
            .parse()
            .map_err(|_| format!("`{}={}`: it takes a whole number", self.name, self.text))
    }

    /// A number, or all of them.
    fn count(&self) -> Result<Option<u32>, String> {
        match self.value() {
            Value::Null => Ok(None),
            _ => self.number().map(Some),
        }
    }

    fn flag(&self) -> Result<bool, String> {
        let flag = self.value().as_bool();
        flag.ok_or_else(|| format!("`{}={}`: it takes true or false", self.name, self.text))
    }

    fn list(&self) -> Vec<String> {
        let parts = self.text.trim_matches(['[', ']']).split(',');
        let parts = parts.map(|part| part.trim().trim_matches(['"', '\'']));
        parts
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn function(&self) -> Result<ScoreFunction, String> {
        match self.text {
            "sigmoid" => Ok(ScoreFunction::Sigmoid),
            "softmax" => Ok(ScoreFunction::Softmax),
            "none" => Ok(ScoreFunction::None),
            _ => Err(self.unknown("sigmoid, softmax or none")),
        }
    }

    fn aggregation(&self) -> Result<Aggregation, String> {
        match self.text {
            "none" => Ok(Aggregation::None),
            "simple" => Ok(Aggregation::Simple),
            "first" => Ok(Aggregation::First),
            "average" => Ok(Aggregation::Average),
            "max" => Ok(Aggregation::Max),
            _ => Err(self.unknown("none, simple, first, average or max")),
        }
    }

    fn unknown(&self, takes: &str) -> String {
        format!("`{}={}`: it takes {takes}", self.name, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(line: &str, body: &str) -> Result<PipelineCall, String> {
        let asked = read(line)?;
        let task = PipelineTask::named(&asked.task).map_err(|failure| failure.message)?;
        call(&asked, task, body).map(|(call, _)| call)
    }

    #[test]
    fn a_line_names_task_model_and_arguments() {
        let asked =
            read("ner a/b --dtype bf16 aggregation_strategy=simple --lines delimiter=' - '")
                .expect("is right");
        assert_eq!((asked.task.as_str(), asked.by_lines), ("ner", true));
        assert_eq!(asked.model, "a/b --dtype bf16");
        let own = |text: &str| text.to_owned();
        assert_eq!(
            asked.arguments,
            [
                (own("aggregation_strategy"), own("simple")),
                (own("delimiter"), own(" - "))
            ]
        );
        assert_eq!(read("").expect_err("is wrong"), "which task?");
        assert!(
            read("ner --dtype bf16")
                .expect_err("is wrong")
                .contains("behind a model")
        );
        assert!(read("ner 'a").expect_err("is wrong").contains("quote"));
    }

    #[test]
    fn arguments_reach_the_call() {
        let line =
            "text-generation max_new_tokens=5 do_sample=False stop_strings=12 early_stopping=never";
        let Ok(PipelineCall::TextGeneration { inputs, options }) = made(line, "Hello\n") else {
            panic!("is right");
        };
        assert_eq!(inputs, [GenerationInput::Text("Hello".to_owned())]);
        let generation = &options.generation;
        assert_eq!(
            (generation.max_new_tokens, generation.do_sample),
            (Some(5), Some(false))
        );
        assert_eq!(generation.stop_strings, Some(vec!["12".to_owned()]));
        assert!(options.return_full_text);

        let line = "zero-shot-classification candidate_labels='good news, sports' multi_label=true";
        let Ok(PipelineCall::ZeroShotClassification { options, .. }) = made(line, "a") else {
            panic!("is right");
        };
        assert_eq!(options.candidate_labels, ["good news", "sports"]);
        assert!(options.multi_label && options.hypothesis_template == "This example is {}.");

        let Ok(PipelineCall::TextClassification { inputs, options }) =
            made("sentiment-analysis top_k=None --lines", "a\n\n b\n")
        else {
            panic!("is right");
        };
        assert_eq!((inputs.len(), options.top_k), (2, TopK::All));
        let Ok(PipelineCall::Text2Text { options, .. }) =
            made("translation_en_to_fr num_beams=2", "a")
        else {
            panic!("is right");
        };
        assert_eq!(options.pair, Some(("en".to_owned(), "fr".to_owned())));
        assert_eq!(options.generation.num_beams, Some(2));
    }

    #[test]
    fn a_question_stands_above_its_text() {
        let Ok(PipelineCall::QuestionAnswering { inputs, .. }) =
            made("qa", "What is it?\n\nA cell.\nOf two lines.\n")
        else {
            panic!("is right");
        };
        assert_eq!(inputs[0].question, "What is it?");
        assert_eq!(inputs[0].context, "A cell.\nOf two lines.");
        assert!(
            made("qa", "What is it?")
                .expect_err("is wrong")
                .contains("first line")
        );
        assert!(
            made("qa --lines", "a\nb")
                .expect_err("is wrong")
                .contains("--lines")
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, complaint) in [
            (
                "ner top_k=3",
                "`token-classification` has no argument `top_k`; it has agg",
            ),
            (
                "fill-mask top_k=many",
                "`top_k=many`: it takes a whole number",
            ),
            (
                "fill-mask truncation=5",
                "`truncation=5`: it takes true or false",
            ),
            (
                "ner aggregation_strategy=all",
                "`aggregation_strategy=all`: it takes none",
            ),
            (
                "text-generation max_new_tokens=few",
                "`max_new_tokens=few`: invalid type",
            ),
            ("zero-shot-classification", "it needs labels"),
            (
                "text-generation return_tensors=true",
                "`text-generation` has no argument",
            ),
        ] {
            let made = made(line, "a").expect_err("is wrong");
            assert!(made.starts_with(complaint), "{line}: {made}");
        }
        assert_eq!(
            made("ner", " \n").expect_err("is wrong"),
            "the cell says nothing"
        );
    }
}
