//! What a pipeline's builder takes for a model and a tokenizer: a name, or what is loaded already; and what goes
//! with which.

use wire::{
    FailureKind,
    model::{ModelSource, ModelSpec},
};

use super::{PipelineBuilder, Task};
use crate::{Error, Model, Result, Tokenizer, model::source};

/// A model by its name, or a loaded one.
pub trait IntoModel {
    /// Which of the two.
    fn into_model(self) -> Named;
}

/// A model that was named.
#[derive(Clone, Debug)]
pub enum Named {
    /// A repository or a folder.
    Name(String),
    /// One that was loaded, as it was.
    Loaded(Box<ModelSpec>),
}

/// A tokenizer by its name, or a loaded one.
pub trait IntoTokenizer {
    /// Which of the two.
    fn into_tokenizer(self) -> TokenizerOf;
}

/// A tokenizer that was named.
#[derive(Clone, Debug)]
pub enum TokenizerOf {
    /// A repository or a folder.
    Name(String),
    /// One that was loaded.
    Loaded {
        /// Where it is from.
        source: Box<ModelSource>,
        /// Whether tokens were added to the handle.
        is_extended: bool,
    },
}

macro_rules! names {
    ($($type:ty),*) => {$(
        impl IntoModel for $type {
            fn into_model(self) -> Named {
                Named::Name(self.into())
            }
        }

        impl IntoTokenizer for $type {
            fn into_tokenizer(self) -> TokenizerOf {
                TokenizerOf::Name(self.into())
            }
        }
    )*};
}

names!(&str, String, &String);

impl IntoModel for &Model {
    fn into_model(self) -> Named {
        Named::Loaded(Box::new(self.spec().clone()))
    }
}

impl IntoTokenizer for &Tokenizer {
    fn into_tokenizer(self) -> TokenizerOf {
        TokenizerOf::Loaded {
            source: Box::new(self.source.clone()),
            is_extended: !self.added.is_empty(),
        }
    }
}

impl PipelineBuilder {
    /// Fails on what goes with nothing that was named.
    pub(super) fn check(&self, task: Task) -> Result<()> {
        let invalid = |message: String, hint: &str| {
            Err(Error::new(FailureKind::InvalidArgument, message).with_hint(hint))
        };
        let given = [
            ("revision", self.revision.is_some()),
            ("gguf_file", self.gguf_file.is_some()),
            ("dtype", self.dtype.is_some()),
            ("quantization_config", self.quantization.is_some()),
            ("device", self.device.is_some()),
        ];
        let of = |names: &[&str]| {
            let mut given = given
                .iter()
                .filter(|(name, is)| *is && names.contains(name));
            given.next().map(|(name, _)| *name)
        };
        if let Some(Named::Loaded(_)) = self.model
            && let Some(name) = of(&given.map(|(name, _)| name))
        {
            let hint = "load it so, or name it: `.model(\"…\")`";
            return invalid(
                format!("`{name}` is set, and the model is loaded already"),
                hint,
            );
        }
        if self.model.is_none() && task == Task::TextGeneration {
            let Some(name) = of(&["revision", "gguf_file"]) else {
                return Ok(());
            };
            let hint = "name its model: `.model(\"…\")`";
            let message =
                format!("`{name}` is of a model, and the default of `text-generation` is embedded");
            return invalid(message, hint);
        }
        if task != Task::TextGeneration && self.gguf_file.is_some() {
            let hint = "a GGUF file is for `text-generation`";
            return invalid(
                format!("`{}` has no argument `gguf_file`", task.name()),
                hint,
            );
        }
        Ok(())
    }

    /// Where the tokenizer is from, if it is not the model's own; it is loaded, so that what is wrong with it is
    /// told now.
    pub(super) fn tokenizer_source(&self) -> Result<Option<ModelSource>> {
        let source = match &self.tokenizer {
            None => return Ok(None),
            Some(TokenizerOf::Name(name)) => ModelSource {
                revision: self.revision.clone(),
                local_files_only: self.local_files_only,
                ..source(name)
            },
            Some(TokenizerOf::Loaded { is_extended, .. }) if *is_extended => {
                let message = "tokens were added to the tokenizer, which the model does not know";
                let hint = "give the tokenizer as it was loaded";
                return Err(Error::new(FailureKind::InvalidArgument, message).with_hint(hint));
            }
            Some(TokenizerOf::Loaded { source, .. }) => (**source).clone(),
        };
        Ok(Some(Tokenizer::load(source)?.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, pipeline_with};

    fn message(builder: &PipelineBuilder, task: &str) -> String {
        let task = Task::named(task).expect("is known");
        let error = builder.check(task).expect_err("does not go");
        error.message().to_owned()
    }

    #[test]
    fn what_goes_with_no_model_is_told() {
        let generation = "text-generation";
        let builder = || pipeline_with(generation);
        let embedded = "is of a model, and the default of `text-generation` is embedded";
        assert!(message(&builder().revision("x"), generation).contains(embedded));
        assert!(message(&builder().gguf_file("x"), generation).contains(embedded));
        let named = builder().model("some/model").revision("x").gguf_file("y");
        let task = Task::named(generation).expect("is known");
        assert!(named.check(task).is_ok() && builder().dtype(DType::F32).check(task).is_ok());
        let masks = pipeline_with("fill-mask").gguf_file("x");
        assert_eq!(
            message(&masks, "fill-mask"),
            "`fill-mask` has no argument `gguf_file`"
        );
        // A default has revisions there.
        let task = Task::named("fill-mask").expect("is known");
        assert!(pipeline_with("fill-mask").revision("x").check(task).is_ok());
    }
}
