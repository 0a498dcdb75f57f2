//! What is known of a loaded tokenizer, as a short table.

use wire::{mime::Bundle, model::TokenizerInfo};

use crate::{RichDisplay, html, rendered};

impl RichDisplay for TokenizerInfo {
    fn bundle(&self) -> Bundle {
        let class = self
            .class
            .as_ref()
            .map_or(String::new(), |class| format!(" ({class})"));
        let added = self.vocab_size.saturating_sub(self.own_vocab_size);
        let vocabulary = match self.own_vocab_size {
            _ if added == 0 => format!("{} tokens", self.vocab_size),
            0 => format!("{} tokens", self.vocab_size),
            own => format!("{} tokens: {own} and {added} added", self.vocab_size),
        };
        let template = if self.has_chat_template {
            "found"
        } else {
            "none: a base model has none"
        };
        let length = match self.model_max_length {
            Some(length) => format!("{length} tokens at most"),
            None => "no limit known".to_owned(),
        };
        let padding = format!("{:?}", self.padding_side).to_lowercase();
        let before = [
            ("type", format!("{}{class}", self.model)),
            ("vocabulary", vocabulary),
        ];
        let after = [
            ("chat template", template.to_owned()),
            ("length", length),
            ("padding", format!("on the {padding}")),
        ];
        let special = special_tokens(self);
        let texts = special
            .iter()
            .map(|(name, token, id)| (*name, format!("{token}{}", id_text(*id))));
        let frames = special.iter().map(|(name, token, id)| {
            let frame = html::special(token, name);
            (*name, format!("{frame}{}", id_text(*id)))
        });
        let text: Vec<_> = before
            .iter()
            .cloned()
            .chain(texts)
            .chain(after.clone())
            .collect();
        let escaped = |facts: &[(&'static str, String)]| {
            let facts = facts
                .iter()
                .map(|(name, value)| (*name, html::escape(value)));
            facts.collect::<Vec<_>>()
        };
        let html = escaped(&before)
            .into_iter()
            .chain(frames)
            .chain(escaped(&after));
        let caption = format!("Tokenizer {}", self.name);
        rendered(
            html::facts_text(&caption, &text),
            html::facts_of_html(&caption, &html.collect::<Vec<_>>()),
        )
    }
}

fn id_text(id: Option<u32>) -> String {
    id.map_or(String::new(), |id| format!("  id {id}"))
}

/// Name, text and id of each special token that is set.
fn special_tokens(info: &TokenizerInfo) -> Vec<(&'static str, &str, Option<u32>)> {
    let named = [
        ("bos_token", &info.bos_token),
        ("eos_token", &info.eos_token),
        ("pad_token", &info.pad_token),
        ("unk_token", &info.unk_token),
        ("sep_token", &info.sep_token),
        ("cls_token", &info.cls_token),
        ("mask_token", &info.mask_token),
    ];
    let named = named.into_iter().filter_map(|(name, token)| {
        let id = info.special_token_ids.get(name).copied();
        Some((name, token.as_deref()?, id))
    });
    let further = info.additional_special_tokens.iter().take(8);
    named
        .chain(further.map(|token| ("additional", token.as_str(), None)))
        .collect()
}
