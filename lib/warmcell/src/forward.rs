//! `model.forward` and `model.logits`: what a model computes, for whoever wants to look inside.

use ::display::Pending;
use wire::{
    array::Array,
    generate::{Forward as ModelOutput, Prompt},
    host::{Request, Response},
    model::ModelSpec,
};

use crate::{
    IntoPrompt, Model, Result,
    backend::{run, unexpected},
    pending,
};

/// One reading of prompts. Set what to keep, then `run()`.
#[derive(Debug)]
#[must_use = "nothing is computed before `run()`"]
pub struct Forward {
    model: ModelSpec,
    prompts: Vec<Prompt>,
    output_hidden_states: bool,
}

impl Forward {
    /// Whether to keep the token vectors and what each layer makes of them.
    pub fn output_hidden_states(mut self, keep: bool) -> Self {
        self.output_hidden_states = keep;
        self
    }

    /// What it would do.
    pub(crate) fn pending(&self) -> Pending {
        let prompts = pending::of_prompts(self.prompts.len(), &self.model);
        let keeps = self.output_hidden_states.then_some(true);
        pending::run(format!("read {prompts}"), "nothing was computed yet")
            .with("output_hidden_states", keeps)
    }

    /// Reads the prompts; several are padded on the left to one length. The model is loaded first when it
    /// is not resident any more.
    ///
    /// # Errors
    /// A prompt is another tokenizer's or too long, or the result is too large for one message.
    pub fn run(self) -> Result<ModelOutput> {
        let request = Request::Forward {
            model: self.model,
            prompts: self.prompts,
            output_hidden_states: self.output_hidden_states,
        };
        match run(&request)? {
            Response::Forward(output) => Ok(*output),
            other => Err(unexpected(&other)),
        }
    }
}

impl Model {
    /// Computes logits of prompts, and hidden states on request, as `model(**inputs)` does. Positions of several
    /// prompts count from each one's first token, as in `generate`; there GPT-2 counts padding, too, where it is not
    /// told `position_ids`.
    ///
    /// ```no_run
    /// # use warmcell::prelude::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = AutoModelForCausalLM::from_pretrained("x").load()?;
    /// let output = model.forward("The capital of France is").output_hidden_states(true).run()?;
    /// println!("{:?}", output.logits.shape());
    /// # Ok(())
    /// # }
    /// ```
    pub fn forward(&self, prompt: impl IntoPrompt) -> Forward {
        Forward {
            model: self.spec().clone(),
            prompts: prompt.into_prompts(),
            output_hidden_states: false,
        }
    }

    /// Logits `(batch, tokens, vocabulary)`: at each token what the model expects after it.
    ///
    /// # Errors
    /// As [`Forward::run`].
    pub fn logits(&self, prompt: impl IntoPrompt) -> Result<Array> {
        Ok(self.forward(prompt).run()?.logits)
    }
}
