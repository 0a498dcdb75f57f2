//! `%%pipeline`: the cell is a task's input, and its result is shown as the library's pipelines show it.

use display::{PipelineResults, RichDisplay, generated_answer, generated_text, units};
use jupyter::{CellError, Publisher, Stream};
use wire::{
    Failure, FailureKind,
    embedded::SENTIMENT_REPO,
    generate::StreamOptions,
    host::{Request, Response},
    mime::Bundle,
    model::{EMBEDDED_FILE, EMBEDDED_REPO, ModelSource, ModelSpec},
    pipeline::{EncoderTask, PipelineAnswer, PipelineCall, PipelineRun, PipelineTask},
    task::{self, languages},
    text_generation::GenerationInput,
    text2text::{DEFAULT_PAIRS, Text2TextTask},
};

use super::{
    Assistant, Call, Command, Commands, Form,
    bar::Bar,
    error, host, live, model_options,
    pipeline_arguments::{self, Asked},
};

pub(super) const COMMAND: Command = Command {
    name: "pipeline",
    form: Form::Cell,
    arguments: "TASK [MODEL] [ARGUMENT=VALUE …]",
    summary: "runs a task on the cell's text",
    details: "As `pipeline(TASK)?.run(text)?` in Rust, with transformers' tasks, arguments and default models, \
without a compile. The cell is one text; with `--lines` each line is one. Of `question-answering` the first line is \
the question, what stands below it the text. `zero-shot-classification` takes its labels as \
`candidate_labels=\"one label, another\"`. Arguments are written as in Python, texts with blanks in quotes; \
`tokenizer=NAME` names another tokenizer, and the options of `%load` stand behind a model. What \
`text-generation` writes comes as it is written.

    %%pipeline sentiment-analysis
    I love open-source LLMs!

    %%pipeline text-generation max_new_tokens=40 do_sample=False
    In this course, we will teach you how to",
    run,
    complete,
};

fn complete(assistant: &Assistant, before: &[&str]) -> Vec<String> {
    let [written, behind @ ..] = before else {
        return task::offered();
    };
    let Ok(task) = PipelineTask::named(written) else {
        return Vec::new();
    };
    let is_set = |name: &str| {
        let sets = |word: &&str| word.split_once('=').is_some_and(|(set, _)| set == name);
        behind.iter().any(sets)
    };
    let names = pipeline_arguments::names(task).into_iter();
    let mut words: Vec<String> = names
        .filter(|name| !is_set(name))
        .map(|name| format!("{name}="))
        .collect();
    words.push("--lines".to_owned());
    match behind
        .iter()
        .find(|word| !word.contains('=') && !word.starts_with('-'))
    {
        None => words.splice(0..0, host::names(assistant)).for_each(drop),
        Some(_) => words.extend(model_options::complete(behind)),
    }
    words
}

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    let usage = |complaint: String| error::usage(call.command, complaint);
    let asked = pipeline_arguments::read(call.arguments).map_err(usage)?;
    let task = PipelineTask::named(&asked.task).map_err(error::from_failure)?;
    let body = call.body.unwrap_or_default();
    let (own, batch_size) = pipeline_arguments::call(&asked, task, body).map_err(usage)?;
    let named = match asked.model.as_str() {
        "" => None,
        model => {
            let mut spec = model_options::spec(model).map_err(usage)?;
            spec.source = commands.located(spec.source);
            Some(spec)
        }
    };
    let tokenizer = asked.arguments.iter().find(|(name, _)| name == "tokenizer");
    let tokenizer = tokenizer.map(|(_, name)| commands.located(ModelSource::new(name.as_str())));
    let loader = Loader {
        commands,
        task,
        out: call.out,
    };
    let model = match named {
        Some(spec) => loader.load(spec)?,
        None => loader.load_default(&asked)?,
    };
    let run = PipelineRun {
        model,
        tokenizer,
        call: own,
        batch_size,
        stream: None,
        assistant: None,
    };
    match task {
        PipelineTask::TextGeneration => write(commands, run, call.out),
        _ => answer(commands, run, call.out),
    }
}

fn answer(commands: &Commands, run: PipelineRun, out: &Publisher) -> Result<(), CellError> {
    let call = run.call.clone();
    let mut bar = Bar::new(out, &run.model.source.repo);
    match bar.ask(commands, Request::RunPipeline(run))? {
        Response::Pipeline(answer) => {
            out.display(bundle(&call, &answer), None);
            Ok(())
        }
        _ => Err(host::unexpected()),
    }
}

/// The same of what is shown while it is written.
fn write(commands: &Commands, mut run: PipelineRun, out: &Publisher) -> Result<(), CellError> {
    if !is_one_text(&run.call) {
        return answer(commands, run, out);
    }
    let call = run.call.clone();
    let name = run.model.source.repo.clone();
    run.batch_size = None;
    run.stream = Some(stream_of(&run.call));
    let (answer, page) = live::ask(commands, Request::RunPipeline(run), &name, out);
    let Some(page) = page else {
        // It is printed.
        return answer.map(drop);
    };
    match answer {
        // What there is of it stays, as the user wants it.
        _ if page.is_stopped() => {
            page.close(None);
            Ok(())
        }
        Ok(Response::Pipeline(answer)) => {
            page.replace(bundle(&call, &answer), &length(&answer));
            Ok(())
        }
        Ok(_) => Err(host::unexpected()),
        Err(failure) => {
            page.close(None);
            Err(failure)
        }
    }
}

/// As the text stands in the result.
fn stream_of(call: &PipelineCall) -> StreamOptions {
    let options = match call {
        PipelineCall::TextGeneration { options, .. } => options.clone(),
        _ => Box::default(),
    };
    StreamOptions {
        skip_prompt: !options.return_full_text,
        skip_special_tokens: options.skip_special_tokens,
        clean_up_tokenization_spaces: Some(options.clean_up_tokenization_spaces),
    }
}

/// Whether it is one text whose tokens come one after the other.
fn is_one_text(call: &PipelineCall) -> bool {
    let PipelineCall::TextGeneration { inputs, options } = call else {
        return false;
    };
    let generation = &options.generation;
    inputs.len() == 1
        && generation.num_return_sequences.unwrap_or(1) == 1
        && generation.num_beams.unwrap_or(1) == 1
}

fn length(answer: &PipelineAnswer) -> String {
    let tokens = match answer {
        PipelineAnswer::Generations(found) => found.iter().flatten().map(|one| one.tokens).sum(),
        _ => 0,
    };
    units::plural(tokens as usize, "new token")
}

fn bundle(call: &PipelineCall, answer: &PipelineAnswer) -> Bundle {
    if let PipelineAnswer::Generations(found) = answer
        && let [texts] = found.as_slice()
        && let [one] = texts.as_slice()
    {
        return match call {
            PipelineCall::TextGeneration { inputs, .. }
                if matches!(inputs.as_slice(), [GenerationInput::Chat(_)]) =>
            {
                generated_answer(&one.text)
            }
            _ => generated_text(&one.text),
        };
    }
    PipelineResults { call, answer }.bundle()
}

/// Brings a task's model into memory.
struct Loader<'a> {
    commands: &'a Commands,
    task: PipelineTask,
    out: &'a Publisher,
}

impl Loader<'_> {
    fn load(&self, model: ModelSpec) -> Result<ModelSpec, CellError> {
        let model = model.for_pipeline(self.task);
        let request = Request::LoadPipeline {
            task: self.task,
            model: model.clone(),
        };
        let mut bar = Bar::new(self.out, &model.source.repo);
        match bar.ask(self.commands, request)? {
            Response::Model(info) => {
                if bar.is_drawn() {
                    bar.loaded(info);
                }
                Ok(model)
            }
            _ => Err(host::unexpected()),
        }
    }

    /// As `pipeline(TASK)` in Rust.
    fn load_default(&self, asked: &Asked) -> Result<ModelSpec, CellError> {
        let (name, revision) = match self.task {
            PipelineTask::TextGeneration => {
                self.tell(&task::embedded_notice());
                let mut spec = model_options::plain(EMBEDDED_REPO);
                spec.source.gguf_file = Some(EMBEDDED_FILE.to_owned());
                return self.load(spec);
            }
            PipelineTask::Encoder(task) => task.default_model(),
            PipelineTask::Text2Text(Text2TextTask::Translation) => {
                let pair = languages(&asked.task);
                let pair = pair.as_ref().map(|(from, to)| (from.as_str(), to.as_str()));
                if !pair.is_some_and(|pair| DEFAULT_PAIRS.contains(&pair)) {
                    return Err(error::from_failure(no_default(&asked.task)));
                }
                Text2TextTask::Translation.default_model()
            }
            PipelineTask::Text2Text(task) => task.default_model(),
        };
        self.tell(&task::default_notice(name, revision));
        let mut spec = model_options::plain(name);
        spec.source.revision = Some(revision.to_owned());
        let failure = match self.load(spec) {
            Err(failure) if failure.ename == FailureKind::Offline.name() => failure,
            loaded => return loaded,
        };
        if self.task != PipelineTask::Encoder(EncoderTask::TextClassification) {
            return Err(failure);
        }
        let stand_in = self.load(model_options::plain(SENTIMENT_REPO));
        let stand_in = stand_in.map_err(|_| failure)?;
        self.tell(&task::stand_in_notice(name, SENTIMENT_REPO));
        Ok(stand_in)
    }

    fn tell(&self, line: &str) {
        self.out.stream(Stream::Stderr, &format!("{line}\n"));
    }
}

fn no_default(task: &str) -> Failure {
    let pairs = DEFAULT_PAIRS.map(|(from, to)| format!("translation_{from}_to_{to}"));
    let message = format!("there is no default model for `{task}`");
    Failure::new(FailureKind::InvalidArgument, message).hint(format!(
        "name a model: `%%pipeline {task} Helsinki-NLP/opus-mt-en-es`; there are defaults for {}",
        pairs.join(", ")
    ))
}
