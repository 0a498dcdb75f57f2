//! What pipelines that write share: a model with its tokenizer, batches of prompts, and notices that are told
//! once. What is written, and how it is read, is the tasks' own.

use wire::{
    Failure,
    generate::{Generated, GenerationConfig, Prompt, StreamOptions},
    host::Event,
};

use super::TaskParams;
use crate::{
    Cancel, failures,
    generate::{self, Defaults, Generator, Task},
};

/// A model and its tokenizer at work.
pub struct Writer<'a> {
    /// What a user calls the model.
    pub name: &'a str,
    /// The model with its tokenizer and what its files say of generation.
    pub generator: Generator<'a>,
    /// What its configuration says of pipelines.
    pub task_params: &'a TaskParams,
    /// Inputs to write about at once.
    pub batch_size: Option<usize>,
    /// Send the text as it is written, cut by these rules.
    pub stream: Option<StreamOptions>,
    /// A smaller model that guesses.
    pub assistant: Option<Generator<'a>>,
    /// Ends the work.
    pub cancel: &'a Cancel,
    /// Gets notices.
    pub sink: &'a mut dyn FnMut(Event),
}

/// What a call comes down to.
pub(super) struct Wishes {
    /// What the call says.
    pub request: GenerationConfig,
    /// What is taken for the rest.
    pub defaults: Defaults,
}

impl Wishes {
    /// Both as one.
    pub fn all(&self) -> GenerationConfig {
        self.request.clone().or(&self.defaults.config)
    }
}

impl Writer<'_> {
    /// Tells what was not told before.
    pub(super) fn tell(&mut self, notices: Vec<String>, told: &mut Vec<String>) {
        for notice in notices {
            if !told.contains(&notice) {
                told.push(notice.clone());
                (self.sink)(Event::Notice(notice));
            }
        }
    }

    /// Continues prompts together, or writes about them.
    pub(super) fn generate(
        &mut self,
        prompts: &[Vec<u32>],
        wishes: &Wishes,
        told: &mut Vec<String>,
    ) -> Result<Vec<Generated>, Failure> {
        let prompts: Vec<Prompt> = prompts
            .iter()
            .map(|ids| Prompt::Ids {
                ids: ids.clone(),
                fingerprint: None,
            })
            .collect();
        let generator = Generator {
            defaults: &wishes.defaults,
            ..self.generator
        };
        let task = Task {
            prompts: &prompts,
            config: &wishes.request,
            generation_config: None,
            stream: self.stream,
            assistant: self.assistant,
        };
        let mut tell = |event: Event| match event {
            // The same of every batch.
            Event::Notice(notice) if told.contains(&notice) => {}
            Event::Notice(notice) => {
                told.push(notice.clone());
                (self.sink)(Event::Notice(notice));
            }
            other => (self.sink)(other),
        };
        let generated = generate::run(generator, task, self.cancel, &mut tell)?;
        // Who sees the text as it comes may end it, and then has what there is of it.
        if self.stream.is_none() {
            self.cancel.check()?;
        }
        Ok(generated)
    }

    /// Fails where several texts would be written into one stream.
    pub(super) fn check_stream(&self, inputs: usize) -> Result<(), Failure> {
        if self.stream.is_none() || inputs == 1 {
            return Ok(());
        }
        Err(failures::invalid(format!(
            "TextStreamer only supports batch size 1, and there are {inputs} inputs"
        ))
        .hint("give one text or one conversation"))
    }

    /// A sequence beside the text it became, where its text was streamed.
    pub(super) fn streamed(&self, generated: &Generated) -> Option<Box<Generated>> {
        self.stream.map(|_| Box::new(generated.clone()))
    }
}
