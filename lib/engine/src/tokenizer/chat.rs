//! `apply_chat_template` with transformers' parameters (`tokenization_utils_base.py`,
//! `utils/chat_template_utils.py`, 4.57.6): the template's variables, the open last message, and the
//! tokens with the assistant's marked. The template itself is rendered by [`crate::template`].

use serde_json::{Map, Value};
use wire::{
    Failure,
    text::{ChatMessage, ContentSpan, RenderedChat, TemplateOptions},
    tokenize::{EncodeOptions, EncodedRow, TextInput},
};

use super::{Tokenizer, special};
use crate::{
    Cancel, failures,
    template::{self, Rendered},
};

/// What stands at the end of the message that the model is to continue, and is cut off again.
const OPEN_END: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

impl Tokenizer {
    /// Renders a conversation by the chat template, and encodes the text without adding to it.
    pub fn apply_chat_template(
        &self,
        messages: &[ChatMessage],
        options: &TemplateOptions,
    ) -> Result<RenderedChat, Failure> {
        let mut chats = self.apply_chat_templates(&[messages.to_vec()], options, &Cancel::new())?;
        Ok(chats.remove(0))
    }

    /// As [`Self::apply_chat_template`], for several conversations, whose sequences may be padded to one
    /// length.
    pub fn apply_chat_templates(
        &self,
        conversations: &[Vec<ChatMessage>],
        options: &TemplateOptions,
        cancel: &Cancel,
    ) -> Result<Vec<RenderedChat>, Failure> {
        check(options)?;
        let source = self.parts.chat_templates.choose(
            options.chat_template.as_deref(),
            options.tools.is_some(),
            &self.info.name,
        )?;
        // transformers warns on its log and gives zeros, with which a training learns nothing.
        if options.return_assistant_tokens_mask && !template::marks_generation(source) {
            return Err(failures::invalid(format!(
                "the chat template of `{}` does not mark what the assistant writes",
                self.info.name
            ))
            .hint("the mask needs a template with `{% generation %}` blocks; pass one as `chat_template`"));
        }
        let render = |messages: &Vec<ChatMessage>| self.render(source, messages, options);
        let rendered: Vec<Rendered> = conversations.iter().map(render).collect::<Result<_, _>>()?;
        let inputs: Vec<TextInput> = rendered
            .iter()
            .map(|chat| chat.text.clone().into())
            .collect();
        let encode = EncodeOptions {
            add_special_tokens: false,
            padding: options.padding,
            padding_side: options.padding_side,
            pad_token: options.pad_token.clone(),
            truncation: options.truncation,
            max_length: options.max_length,
            ..EncodeOptions::default()
        };
        // As in transformers, one conversation is one text and several are a list.
        let rows = match &inputs[..] {
            [input] => self.encode_alone(input, &encode)?.rows,
            inputs => self.encode_batch(inputs, &encode, cancel)?.rows,
        };
        let parts = conversations.iter().zip(rendered).zip(rows);
        parts
            .map(|((messages, Rendered { text, generation }), inputs)| {
                let wants_mask = options.return_assistant_tokens_mask;
                Ok(RenderedChat {
                    contents: self.contents(source, messages, options, &text),
                    header: self.header(source, messages, options, &text),
                    messages: messages.clone(),
                    encoding: self.encode(&text, false)?,
                    add_generation_prompt: options.add_generation_prompt,
                    continue_final_message: options.continue_final_message,
                    assistant_mask: wants_mask.then(|| assistant_mask(&generation, &inputs)),
                    generation: wants_mask.then(|| {
                        let ranges = generation.iter();
                        ranges
                            .map(|range| (range.start as u32, range.end as u32))
                            .collect()
                    }),
                    text,
                    inputs,
                })
            })
            .collect()
    }

    fn render(
        &self,
        source: &str,
        messages: &[ChatMessage],
        options: &TemplateOptions,
    ) -> Result<Rendered, Failure> {
        let mut messages = serde_json::to_value(messages)
            .map_err(|error| failures::invalid(format!("messages cannot be rendered: {error}")))?;
        let open = if options.continue_final_message {
            Some(leave_open(&mut messages)?)
        } else {
            None
        };
        let context = self.context(messages, options);
        let mut rendered = if options.return_assistant_tokens_mask {
            template::render_with_generation(source, context)?
        } else {
            let text = template::render(source, context)?;
            Rendered {
                text,
                ..Rendered::default()
            }
        };
        if let Some(last) = open {
            rendered.text = cut_open_end(&rendered.text, &last)?;
        }
        Ok(rendered)
    }

    /// Where the messages' contents are in the text, by rendering them once more between marks. Nothing
    /// where the marks change what the template does.
    fn contents(
        &self,
        source: &str,
        messages: &[ChatMessage],
        options: &TemplateOptions,
        text: &str,
    ) -> Vec<ContentSpan> {
        if text.contains(MARK) {
            return Vec::new();
        }
        let mut marked = messages.to_vec();
        let parts: Vec<usize> = (0..)
            .zip(&mut marked)
            .flat_map(|(index, message)| {
                let marks = message.content.as_mut().map_or(0, put_marks);
                vec![index; marks]
            })
            .collect();
        let Ok(Rendered { text: marked, .. }) = self.render(source, &marked, options) else {
            return Vec::new();
        };
        if marked.replace(MARK, "") != text {
            return Vec::new();
        }
        let mut spans = Vec::new();
        let mut at = 0;
        for (number, part) in marked.split(MARK).enumerate() {
            let bytes = (at as u32, (at + part.len()) as u32);
            at += part.len();
            if number % 2 == 1 {
                let Some(&message) = parts.get(number / 2) else {
                    return Vec::new();
                };
                let message = message as u32;
                spans.push(ContentSpan { message, bytes });
            }
        }
        // A template that writes a message twice, or leaves one out, mixes them up.
        if spans.len() == parts.len() {
            spans
        } else {
            Vec::new()
        }
    }

    /// The header of the answer: what the template adds for it at the end.
    fn header(
        &self,
        source: &str,
        messages: &[ChatMessage],
        options: &TemplateOptions,
        text: &str,
    ) -> Option<(u32, u32)> {
        if !options.add_generation_prompt {
            return None;
        }
        let without = TemplateOptions {
            add_generation_prompt: false,
            ..options.clone()
        };
        let shorter = self.render(source, messages, &without).ok()?.text;
        let is_end = text.starts_with(&shorter) && shorter.len() < text.len();
        is_end.then_some((shorter.len() as u32, text.len() as u32))
    }

    /// The variables of a template, in the order of precedence that transformers has.
    fn context(&self, messages: Value, options: &TemplateOptions) -> Map<String, Value> {
        let list = |items: &Option<Vec<Value>>| items.clone().map_or(Value::Null, Value::Array);
        let mut context = Map::new();
        context.insert("messages".into(), messages);
        context.insert("tools".into(), list(&options.tools));
        context.insert("documents".into(), list(&options.documents));
        context.insert(
            "add_generation_prompt".into(),
            options.add_generation_prompt.into(),
        );
        let tokens = &self.parts.special;
        for name in special::NAMES {
            let chosen = options.pad_token.as_deref().filter(|_| name == "pad_token");
            if let Some(token) = chosen.or(tokens.get(name)) {
                context.insert(name.into(), token.into());
            }
        }
        for (name, token) in tokens.extra() {
            context.insert(name.into(), token.into());
        }
        let additional: Vec<&str> = tokens.additional().collect();
        if !additional.is_empty() {
            context.insert("additional_special_tokens".into(), additional.into());
        }
        context.extend(options.variables.clone());
        context
    }
}

/// Stands around contents while they are looked for: the last private character.
const MARK: char = '\u{10fffd}';

/// Puts marks around the texts of a content, inside their blanks, which a template may trim; and says
/// around how many.
fn put_marks(content: &mut Value) -> usize {
    let mark = |text: &mut String| {
        let own = text.trim();
        if own.is_empty() {
            return 0;
        }
        let start = text.len() - text.trim_start().len();
        let end = start + own.len();
        text.insert(end, MARK);
        text.insert(start, MARK);
        1
    };
    match content {
        Value::String(text) => mark(text),
        Value::Array(parts) => {
            let texts = parts.iter_mut().filter_map(|part| part.get_mut("text"));
            texts
                .map(|text| {
                    if let Value::String(text) = text {
                        mark(text)
                    } else {
                        0
                    }
                })
                .sum()
        }
        _ => 0,
    }
}

fn check(options: &TemplateOptions) -> Result<(), Failure> {
    if options.continue_final_message && options.add_generation_prompt {
        return Err(failures::invalid(
            "`continue_final_message` and `add_generation_prompt` are not compatible",
        )
        .hint(
            "the first continues the last message, the second starts an answer: set one of them",
        ));
    }
    if options.continue_final_message && options.return_assistant_tokens_mask {
        return Err(failures::invalid(
            "`continue_final_message` is not compatible with `return_assistant_tokens_mask`",
        ));
    }
    for document in options.documents.iter().flatten() {
        if !document.is_object() {
            return Err(
                failures::invalid(format!("a document is no object: {document}"))
                    .hint("documents are objects with `title` and `text`"),
            );
        }
    }
    Ok(())
}

/// Marks the end of the last message's text, and gives that text as it was.
fn leave_open(messages: &mut Value) -> Result<String, Failure> {
    let content = messages
        .as_array_mut()
        .and_then(|messages| messages.last_mut())
        .and_then(|message| message.get_mut("content"));
    let text = match content {
        Some(Value::Array(parts)) => parts.iter_mut().rev().find_map(|part| part.get_mut("text")),
        other => other,
    };
    let Some(Value::String(text)) = text else {
        return Err(failures::invalid(
            "`continue_final_message` is set but the final message has no text to continue",
        ));
    };
    let own = text.clone();
    text.push_str(OPEN_END);
    Ok(own)
}

/// Cuts the rendered text where the last message ends.
fn cut_open_end(text: &str, last: &str) -> Result<String, Failure> {
    let end = text
        .rfind(OPEN_END.trim())
        .filter(|_| text.contains(last.trim()));
    let Some(end) = end else {
        return Err(failures::invalid(
            "`continue_final_message` is set but the final message does not appear in the chat after \
             applying the chat template",
        )
        .hint("the template deletes or rewrites a part of the message: send it in the form that the template keeps"));
    };
    // A template that trims the message has trimmed the blank of the mark.
    Ok(if text[end..].starts_with(OPEN_END) {
        text[..end].to_owned()
    } else {
        text[..end].trim_end().to_owned()
    })
}

/// 1 for the tokens from the one at the first byte of a block to the one at its last, as `char_to_token`
/// finds them. A block past a truncation is left out, and so are those after it.
fn assistant_mask(generation: &[std::ops::Range<usize>], row: &EncodedRow) -> Vec<u32> {
    let mut mask = vec![0; row.input_ids.len()];
    let token_at = |byte: usize| {
        let spans = row.byte_starts.iter().zip(&row.byte_ends);
        let mut spans = spans.map(|(&start, &end)| start as usize..end as usize);
        spans.position(|span| span.contains(&byte))
    };
    for block in generation {
        let Some(first) = token_at(block.start) else {
            break;
        };
        // transformers marks all the rest where the last token is out of bounds or the first of all.
        let last = token_at(block.end.saturating_sub(1)).filter(|&last| last > 0);
        let last = last.map_or(mask.len(), |last| last + 1);
        mask[first..last.max(first)].fill(1);
    }
    mask
}
