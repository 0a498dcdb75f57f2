//! `apply_chat_template`: of one conversation and of several, and comparisons between the templates and
//! the tokenizers of models.

use ::display::{TemplateComparison, TokenizerComparison};
use wire::{
    FailureKind,
    host::{Request, Response},
    text::TemplateOptions,
};

use crate::{
    Chat, Error, Messages, Result, Tokenizer,
    backend::{run, unexpected},
};

impl Tokenizer {
    /// The conversation as the model reads it, without the header of the answer. What Python writes as
    /// `tokenizer.apply_chat_template(messages, return_tensors="pt").to("cuda")` is
    /// `tokenizer.apply_chat_template(&messages)?.to("cuda")?`; its text, `tokenize=False` there, is
    /// [`Chat::text`].
    ///
    /// ```no_run
    /// # use warmcell::prelude::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tokenizer = AutoTokenizer::from_pretrained("x")?;
    /// let messages = messages![system: "Be brief.", user: "What is the capital of France?"];
    /// println!("{}", tokenizer.apply_chat_template(&messages)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The tokenizer has no template, or the template refuses these messages.
    pub fn apply_chat_template(&self, messages: &Messages) -> Result<Chat> {
        self.apply_chat_template_with(messages, TemplateOptions::default())
    }

    /// As [`Self::apply_chat_template`], with options:
    /// `TemplateOptions { add_generation_prompt: true, ..Default::default() }`.
    ///
    /// # Errors
    /// As [`Self::apply_chat_template`], and for options that exclude each other.
    pub fn apply_chat_template_with(
        &self,
        messages: &Messages,
        options: TemplateOptions,
    ) -> Result<Chat> {
        let mut chats = self.apply_chat_template_batch(std::slice::from_ref(messages), options)?;
        chats
            .pop()
            .ok_or_else(|| unexpected(&Response::Chats(Vec::new())))
    }

    /// As [`Self::apply_chat_template_with`], for several conversations. With `padding` their
    /// [`Chat::input_ids`] are equally long.
    ///
    /// # Errors
    /// As [`Self::apply_chat_template_with`], of the first conversation that fails.
    pub fn apply_chat_template_batch(
        &self,
        conversations: &[Messages],
        options: TemplateOptions,
    ) -> Result<Vec<Chat>> {
        let request = Request::ApplyChatTemplate {
            tokenizer: self.spec(),
            conversations: conversations
                .iter()
                .map(|messages| messages.to_vec())
                .collect(),
            options: TemplateOptions {
                padding_side: options.padding_side.or(self.padding_side),
                pad_token: options.pad_token.or_else(|| self.pad_token.clone()),
                ..options
            },
        };
        match run(&request)? {
            Response::Chats(rendered) => Ok(rendered.into_iter().map(Chat::new).collect()),
            other => Err(unexpected(&other)),
        }
    }
}

/// One text as several tokenizers cut it, piece by piece beside each other.
///
/// # Errors
/// There is no tokenizer to compare, or one cannot encode the text.
pub fn compare_tokenizers(text: &str, tokenizers: &[&Tokenizer]) -> Result<TokenizerComparison> {
    some(tokenizers)?;
    let encode =
        |tokenizer: &&Tokenizer| Ok((label(tokenizer), tokenizer.encode(text)?.into_encoding()));
    Ok(TokenizerComparison {
        text: text.to_owned(),
        encodings: tokenizers.iter().map(encode).collect::<Result<_>>()?,
    })
}

/// One conversation as the templates of several tokenizers write it, side by side. A template that
/// refuses it is shown with its reason.
///
/// # Errors
/// There is no tokenizer to compare, or the model host ended.
pub fn compare_templates(
    messages: &Messages,
    tokenizers: &[&Tokenizer],
) -> Result<TemplateComparison> {
    some(tokenizers)?;
    let options = TemplateOptions {
        add_generation_prompt: true,
        ..TemplateOptions::default()
    };
    let render = |tokenizer: &&Tokenizer| {
        let chat = match tokenizer.apply_chat_template_with(messages, options.clone()) {
            Ok(chat) => Ok(chat.into_rendered()),
            Err(error)
                if matches!(
                    error.kind(),
                    FailureKind::Template | FailureKind::InvalidArgument
                ) =>
            {
                Err(error.to_string())
            }
            Err(error) => return Err(error),
        };
        Ok((label(tokenizer), chat))
    };
    Ok(TemplateComparison {
        chats: tokenizers.iter().map(render).collect::<Result<_>>()?,
    })
}

/// A tokenizer's name, and how it differs from another of that name.
fn label(tokenizer: &Tokenizer) -> String {
    let name = &tokenizer.info().name;
    match tokenizer.added.len() {
        0 => name.clone(),
        count => format!("{name} + {count} added"),
    }
}

fn some(tokenizers: &[&Tokenizer]) -> Result<()> {
    if tokenizers.is_empty() {
        return Err(Error::new(
            FailureKind::InvalidArgument,
            "there is no tokenizer to compare",
        )
        .with_hint("pass references: `&[&llama, &phi]`"));
    }
    Ok(())
}
