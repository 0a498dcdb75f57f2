//! The variables by which `huggingface_hub` is set up, as a client has them: the model host was
//! started with those of whoever came first. What they mean is the engine's matter.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::{Deserialize, Serialize};

/// The variables that travel: `huggingface_hub`'s, the one that moves its default folder, and the old ones of transformers.
pub const NAMES: [&str; 14] = [
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
    "TRANSFORMERS_CACHE",
    "PYTORCH_TRANSFORMERS_CACHE",
    "PYTORCH_PRETRAINED_BERT_CACHE",
];

/// Those of [`NAMES`] that name a folder or file. A client makes them absolute, by
/// [`HubVariables::from_folder`].
pub const PATHS: [&str; 8] = [
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_HOME",
    "HF_TOKEN_PATH",
    "XDG_CACHE_HOME",
    "TRANSFORMERS_CACHE",
    "PYTORCH_TRANSFORMERS_CACHE",
    "PYTORCH_PRETRAINED_BERT_CACHE",
];

/// Those that name the folder of downloads, the first before the others: transformers', which it calls deprecated and
/// reads first (`utils/hub.py`), then the hub's.
pub const CACHES: [&str; 5] = [
    "TRANSFORMERS_CACHE",
    "PYTORCH_TRANSFORMERS_CACHE",
    "PYTORCH_PRETRAINED_BERT_CACHE",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
];

/// The hub's variables in one client's environment, at the time of one request.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubVariables(BTreeMap<String, String>);

impl HubVariables {
    /// Those that `get` knows, without blanks around them and without the empty ones. Paths are told with the variables
    /// that stand in them, which the host does not have.
    pub fn collect(get: impl Fn(&str) -> Option<String>) -> Self {
        let known = NAMES.iter().filter_map(|&name| {
            let value = get(name)?;
            let value = match value.trim() {
                path if PATHS.contains(&name) => expanded(path, &get),
                value => value.to_owned(),
            };
            (!value.is_empty()).then(|| (name.to_owned(), value))
        });
        Self(known.collect())
    }

    /// The same, with the paths among them from a client's folder on: the host runs elsewhere. A `~` is
    /// the user's home for both, and stays.
    #[must_use]
    pub fn from_folder(mut self, folder: &Path) -> Self {
        for name in PATHS {
            if let Some(path) = self.0.get_mut(name)
                && !path.starts_with('~')
                && let Ok(absolute) = folder.join(&*path).into_os_string().into_string()
            {
                *path = absolute;
            }
        }
        self
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// A path with the values of `$NAME` and `${NAME}`; names that nobody knows stay as they are written, as in Python's
/// `os.path.expandvars`.
fn expanded(path: &str, get: &impl Fn(&str) -> Option<String>) -> String {
    let mut pieces = path.split('$');
    let mut whole = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let braced = piece
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'));
        let (name, rest) = braced.unwrap_or_else(|| {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            piece.split_at(piece.find(|c| !is_part(c)).unwrap_or(piece.len()))
        });
        match get(name).filter(|_| !name.is_empty()) {
            Some(value) => whole.extend([value.as_str(), rest]),
            None => whole.extend(["$", piece]),
        }
    }
    whole
}

/// Names only: a value can be a token, or an address with a password.
impl fmt::Debug for HubVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_count_from_the_clients_folder_and_the_rest_stays() {
        let set = [
            ("HF_HOME", "models"),
            ("HF_HUB_CACHE", "/cache"),
            ("HF_TOKEN_PATH", "~/token"),
            ("HF_TOKEN", " models "),
            ("HF_ENDPOINT", ""),
            ("PATH", "/bin"),
        ];
        let get = |name: &str| Some(set.iter().find(|(known, _)| *known == name)?.1.to_owned());
        let hub = HubVariables::collect(get).from_folder(Path::new("/notebook"));
        assert_eq!(hub.get("HF_HOME"), Some("/notebook/models"));
        assert_eq!(hub.get("HF_HUB_CACHE"), Some("/cache"));
        assert_eq!(hub.get("HF_TOKEN_PATH"), Some("~/token"));
        assert_eq!(hub.get("HF_TOKEN"), Some("models"));
        assert_eq!((hub.get("HF_ENDPOINT"), hub.get("PATH")), (None, None));
    }

    /// `HF_HOME=$SCRATCH/hf` once made a folder of that very name. The values are those of `os.path.expandvars`.
    #[test]
    fn paths_are_told_with_the_variables_in_them() {
        let known = |name: &str| match name {
            "BASE" => Some("/b".to_owned()),
            "A_1" => Some("$BASE".to_owned()),
            _ => None,
        };
        for (written, path) in [
            ("$BASE/hc", "/b/hc"),
            ("${BASE}x/$A_1-y", "/bx/$BASE-y"),
            ("~/$BASE", "~//b"),
            ("/x/$NONE/${NONE}/$", "/x/$NONE/${NONE}/$"),
            ("/x/$$BASE/${}/${BASE", "/x/$/b/${}/${BASE"),
        ] {
            let get = |name: &str| match name {
                "HF_HOME" | "HF_ENDPOINT" => Some(written.to_owned()),
                _ => known(name),
            };
            let hub = HubVariables::collect(get);
            assert_eq!(hub.get("HF_HOME"), Some(path));
            assert_eq!(hub.get("HF_ENDPOINT"), Some(written));
        }
    }
}
