//! A pipeline whose text is shown while it is written: one input, one sequence, no beams, as transformers'
//! streamers have it.

use std::fmt;

use ::display::Pending;
use wire::{
    Failure,
    generate::{FinishReason, Generated, StreamedToken},
    host::{Request, Response},
    pipeline::{PipelineAnswer, PipelineRun},
};

use super::{Pipeline, PipelineInput, PipelineOutput};
use crate::{Result, TextStreamer, listener::Listener, pending};

/// A pipeline with a streamer. It runs once; set arguments before.
#[must_use = "nothing is written before `run()`"]
pub struct StreamedPipeline {
    pipeline: Pipeline,
    listener: Listener,
}

/// Of the tasks that write.
impl Pipeline {
    /// Prints the text as it comes; in a front end with widgets it grows on the page, with a button that stops
    /// it. Of one input, with one sequence and one beam. Of the tasks that write.
    ///
    /// ```no_run
    /// # use warmcell::prelude::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let generator = pipeline("text-generation")?.max_new_tokens(40);
    /// let streamer = TextStreamer::new(&generator.model().tokenizer()?).skip_prompt(true);
    /// generator.streamer(streamer).run("Once upon a time")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn streamer(&self, streamer: TextStreamer) -> StreamedPipeline {
        self.streamed("streamer").streamer(streamer)
    }

    /// Calls a function with each new token and the text that became printable with it. Of the same.
    pub fn on_token(&self, on_token: impl FnMut(&StreamedToken) + 'static) -> StreamedPipeline {
        self.streamed("on_token").on_token(on_token)
    }

    fn streamed(&self, argument: &'static str) -> StreamedPipeline {
        let mut pipeline = self.clone();
        pipeline.arguments.note(argument);
        StreamedPipeline {
            pipeline,
            listener: Listener::default(),
        }
    }
}

impl StreamedPipeline {
    /// What it would do.
    pub(crate) fn pending(&self) -> Pending {
        Pending {
            call: ".run(\"…\")?",
            ..pending::run(format!("run {}", self.pipeline), "nothing was written yet")
        }
    }

    /// Prints the text as it comes.
    pub fn streamer(mut self, streamer: TextStreamer) -> Self {
        self.listener.streamer = Some(streamer);
        self
    }

    /// Calls a function with each new token and the text that became printable with it.
    pub fn on_token(mut self, on_token: impl FnMut(&StreamedToken) + 'static) -> Self {
        self.listener.on_token = Some(Box::new(on_token));
        self
    }

    /// Runs on one input. Who stops it by the button has what was written until then.
    ///
    /// # Errors
    /// As [`Pipeline::run`]; there are several inputs, sequences or beams; the streamer's tokenizer is not the
    /// pipeline's; or the cell was interrupted.
    pub fn run(self, input: impl Into<PipelineInput>) -> Result<PipelineOutput> {
        let Self { pipeline, listener } = self;
        let (call, single) = pipeline.call(input.into())?;
        listener.check(pipeline.tokenizer_source())?;
        let request = Request::RunPipeline(PipelineRun {
            stream: listener.options(),
            ..pipeline.request(call.clone())
        });
        let (response, is_stopped) = listener.run(&request, |response| written(response).cloned());
        let response = response?;
        // Nobody else cancels and waits on: it was interrupted.
        let reason = written(&response).map(|one| one.finish_reason);
        if reason == Some(FinishReason::Cancelled) && !is_stopped {
            return Err(Failure::interrupted().into());
        }
        pipeline.output(response, call, single)
    }
}

/// What was written.
fn written(response: &Response) -> Option<&Generated> {
    let Response::Pipeline(answer) = response else {
        return None;
    };
    match answer {
        PipelineAnswer::Generations(found) => found.first()?.first()?.streamed.as_deref(),
        PipelineAnswer::Texts(found) => found.first()?.first()?.streamed.as_deref(),
        _ => None,
    }
}

impl fmt::Debug for StreamedPipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("StreamedPipeline");
        debug
            .field("pipeline", &self.pipeline)
            .finish_non_exhaustive()
    }
}
