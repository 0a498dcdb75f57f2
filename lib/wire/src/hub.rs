//! The variables by which `huggingface_hub` is set up, as a client has them: the model host was
//! started with those of whoever came first. What they mean is the engine's matter.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// The variables that travel: `huggingface_hub`'s, and the one that moves its default folder.
pub const NAMES: [&str; 11] = [
    "HF_ENDPOINT",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_HOME",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "XDG_CACHE_HOME",
];

/// Those of [`NAMES`] that name a folder or file. A client makes them absolute: the host runs
/// elsewhere.
pub const PATHS: [&str; 5] = [
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_HOME",
    "HF_TOKEN_PATH",
    "XDG_CACHE_HOME",
];

/// The hub's variables in one client's environment, at the time of one request.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubVariables(BTreeMap<String, String>);

impl HubVariables {
    /// Those that `get` knows, without blanks around them and without the empty ones.
    pub fn collect(get: impl Fn(&str) -> Option<String>) -> Self {
        let known = NAMES.iter().filter_map(|&name| {
            let value = get(name)?.trim().to_owned();
            (!value.is_empty()).then(|| (name.to_owned(), value))
        });
        Self(known.collect())
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Names only: a value can be a token, or an address with a password.
impl fmt::Debug for HubVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
