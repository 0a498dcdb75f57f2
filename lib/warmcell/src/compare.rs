//! `compare_generations`: one prompt, several models.

use std::time::Instant;

use ::display::{ComparedAnswer, GenerationComparison};
use wire::FailureKind;

use crate::{Error, Generate, IntoPrompt, Model, Result};

/// Tokens that each model may add, as in the course.
const MAX_NEW_TOKENS: u32 = 80;

/// What several models make of a prompt, at most 80 tokens each, side by side with time, speed and
/// memory. They run one after the other; a model that cannot answer is shown with the reason.
///
/// ```no_run
/// # use warmcell::prelude::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let small = AutoModelForCausalLM::from_pretrained("x").load()?;
/// # let large = AutoModelForCausalLM::from_pretrained("y").load()?;
/// compare_generations(&[&small, &large], &messages![user: "Tell a joke."])?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// There is no model to compare, the cell was interrupted, or the model host ended.
pub fn compare_generations<P: IntoPrompt + Copy>(
    models: &[&Model],
    prompt: P,
) -> Result<GenerationComparison> {
    compare_generations_with(models, prompt, |generate| {
        generate.max_new_tokens(MAX_NEW_TOKENS)
    })
}

/// The same with options of `generate`: `|generate| generate.max_new_tokens(20).do_sample(false)`.
///
/// # Errors
/// As [`compare_generations`].
pub fn compare_generations_with<P: IntoPrompt + Copy>(
    models: &[&Model],
    prompt: P,
    options: impl Fn(Generate) -> Generate,
) -> Result<GenerationComparison> {
    if models.is_empty() {
        return Err(
            Error::new(FailureKind::InvalidArgument, "there is no model to compare")
                .with_hint("pass references: `&[&llama, &phi]`"),
        );
    }
    let answer = |model: &&Model| {
        // Loading, should it have gone meanwhile, is not part of its time.
        let model = model.reload()?;
        let started = Instant::now();
        let answer = match options(model.generate(prompt)).run() {
            Ok(generation) => Ok(ComparedAnswer {
                text: generation.text().to_owned(),
                tokens: generation.ids().len(),
                seconds: started.elapsed().as_secs_f64(),
                first_token_seconds: generation.time_to_first_token(),
                tokens_per_second: generation.tokens_per_second(),
                is_chat: generation.are_answers(),
            }),
            Err(error) if is_the_models(error.kind()) => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        Ok((model.info().clone(), answer))
    };
    Ok(GenerationComparison {
        answers: models.iter().map(answer).collect::<Result<_>>()?,
    })
}

/// Whether another model may well answer where one has failed so.
fn is_the_models(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Template | FailureKind::InvalidArgument | FailureKind::Unsupported
    )
}
