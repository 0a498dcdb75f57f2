//! Values of this library's own types in short, for `%vars`: what a user calls them, and not all that they
//! hold. Types that read well by their `Debug` form are left to that.

use std::any::Any;

use ::display::{host_summary, units::plural};

use crate::{
    Array, BatchEncoding, Generate, Generation, Logprobs, Model, ModelBuilder, Models, Pipeline,
    PipelineBuilder, PipelineOutput, QuantizationReport, TextGeneration, Tokenizer, Unloaded,
};

/// The first of these forms whose type the value is of.
macro_rules! by_type {
    ($value:expr; $($type:ty => $form:expr;)*) => {{
        $(if let Some(own) = $value.downcast_ref::<$type>() {
            let form: fn(&$type) -> String = $form;
            return Some(form(own));
        })*
        None
    }};
}

/// A value in a few words; `None` of a type that is not one of these. Asked after each cell that uses the
/// variable, so that nothing large is written.
pub(super) fn text(value: &dyn Any) -> Option<String> {
    by_type! { value;
        Model => ToString::to_string;
        Tokenizer => ToString::to_string;
        Pipeline => ToString::to_string;
        Unloaded => ToString::to_string;
        Array => array;
        BatchEncoding => |batch| plural(batch.len(), "row");
        Generate => |generate| generate.pending().task;
        Generation => |generation| several(&generation.texts());
        Logprobs => |logprobs| {
            let tokens = plural(logprobs.tokens.len(), "token");
            format!("{tokens} · perplexity {:.2}", logprobs.perplexity())
        };
        ModelBuilder => |builder| builder.pending().task;
        Models => |models| host_summary(models.status());
        PipelineBuilder => |builder| builder.pending().task;
        PipelineOutput => output;
        QuantizationReport => |report| plural(report.layers.len(), "layer");
        TextGeneration => |one| format!("{:?}", one.generated_text);
    }
}

fn array(array: &Array) -> String {
    format!("array {:?}", array.shape())
}

/// As JSON, which is transformers' form; vectors by their shape.
fn output(output: &PipelineOutput) -> String {
    match (output.embeddings(), output.features()) {
        (Some(embeddings), _) => array(embeddings),
        (_, Some(features)) => {
            let shapes: Vec<&[usize]> = features.iter().map(Array::shape).collect();
            format!("{} {shapes:?}", plural(features.len(), "array"))
        }
        // Numbers and texts alone: it cannot fail.
        _ => serde_json::to_string(output).unwrap_or_default(),
    }
}

/// `"text"`, or `2 texts: "one", "other"`.
fn several(texts: &[&str]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    match quoted.as_slice() {
        [only] => only.clone(),
        _ => format!("{} texts: {}", quoted.len(), quoted.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AutoModelForCausalLM;

    /// `%vars` showed `Generation { first: Generated { prompt_ids: …`.
    #[test]
    fn a_value_is_told_in_the_users_words() {
        let given: TextGeneration = wire::text_generation::GeneratedText {
            text: "Paris \"it\" is".to_owned(),
            messages: None,
            token_ids: vec![1],
            tokens: 1,
            prompt_tokens: 0,
            streamed: None,
        }
        .into();
        assert_eq!(text(&given).as_deref(), Some(r#""Paris \"it\" is""#));
        assert_eq!(several(&["a"]), "\"a\"");
        assert_eq!(several(&["a", "b"]), "2 texts: \"a\", \"b\"");
        let builder = AutoModelForCausalLM::from_pretrained("a/b");
        assert_eq!(text(&builder).as_deref(), Some("load the model a/b"));
        let array = Array::default();
        assert_eq!(text(&array).as_deref(), Some("array []"));
        assert_eq!(text(&"a text"), None);
    }
}
