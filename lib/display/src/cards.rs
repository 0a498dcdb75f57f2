//! What is known of a loaded model and of a loaded tokenizer, as a short table.

use wire::{
    mime::Bundle,
    model::{ModelInfo, TokenizerInfo},
};

use crate::{RichDisplay, html, rendered, units};

impl RichDisplay for ModelInfo {
    fn bundle(&self) -> Bundle {
        let facts = [
            ("architecture", self.architecture.clone()),
            ("parameters", units::count(self.parameters)),
            (
                "weights",
                format!("{} in {}", units::bytes(self.bytes), self.quantization),
            ),
            ("device", self.device.clone()),
            (
                "layers × width",
                format!("{} × {}", self.layers, self.hidden_size),
            ),
            ("context", format!("{} tokens", self.context_length)),
            ("vocabulary", format!("{} tokens", self.vocab_size)),
            ("files", self.files.join(", ")),
            ("loaded", loaded(self)),
        ];
        let caption = format!("Model {}", self.name);
        rendered(
            html::facts_text(&caption, &facts),
            html::facts(&caption, &facts),
        )
    }
}

fn loaded(info: &ModelInfo) -> String {
    let seconds = units::seconds(info.load_seconds);
    if info.was_resident {
        format!("was in memory (first load took {seconds})")
    } else {
        format!("in {seconds}")
    }
}

impl RichDisplay for TokenizerInfo {
    fn bundle(&self) -> Bundle {
        let token = |token: &Option<String>| token.clone().unwrap_or_else(|| "none".to_owned());
        let facts = [
            ("type", self.model.clone()),
            ("vocabulary", format!("{} tokens", self.vocab_size)),
            ("bos_token", token(&self.bos_token)),
            ("eos_token", token(&self.eos_token)),
            ("pad_token", token(&self.pad_token)),
            ("unk_token", token(&self.unk_token)),
            (
                "chat template",
                if self.has_chat_template { "yes" } else { "no" }.to_owned(),
            ),
        ];
        let caption = format!("Tokenizer {}", self.name);
        rendered(
            html::facts_text(&caption, &facts),
            html::facts(&caption, &facts),
        )
    }
}
