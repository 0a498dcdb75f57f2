//! The identity of a vocabulary: a hash of its merges, and of its tokens with their ids. What is added is
//! hashed behind what was there, so that adding to a large vocabulary does not read it all again.

use std::fmt::Write;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// A hash that can go on.
#[derive(Clone, Default)]
pub(super) struct Identity(Sha256);

impl Identity {
    /// Of tokens in the order of their ids.
    pub fn of(vocabulary: &[(String, u32)], merges: &Value) -> Self {
        let mut identity = Self::default();
        for merge in merges.as_array().into_iter().flatten() {
            identity.push_merge(merge);
        }
        for (token, id) in vocabulary {
            identity.push(token, *id);
        }
        identity
    }

    /// Takes in a further token.
    pub fn push(&mut self, token: &str, id: u32) {
        self.0.update(id.to_le_bytes());
        self.0.update((token.len() as u64).to_le_bytes());
        self.0.update(token);
    }

    /// Older files write a merge as one text, newer ones as a pair.
    fn push_merge(&mut self, merge: &Value) {
        match merge {
            Value::String(pair) => self.0.update(pair),
            pair => {
                self.0.update(pair[0].as_str().unwrap_or_default());
                self.0.update(" ");
                self.0.update(pair[1].as_str().unwrap_or_default());
            }
        }
        self.0.update([0]);
    }

    /// Its text.
    pub fn fingerprint(&self) -> String {
        let bytes = self.0.clone().finalize();
        bytes.iter().take(16).fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string does not fail");
            text
        })
    }
}
