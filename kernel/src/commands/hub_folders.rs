//! Where the hub's cache and token lie, by the variables of `huggingface_hub`.

use std::path::PathBuf;

use wire::hub::{CACHES, HubVariables};

/// Looks a variable up.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The file of the access token.
pub fn token(variable: Variable<'_>) -> Option<PathBuf> {
    path(variable, "HF_TOKEN_PATH").or_else(|| Some(home(variable)?.join("token")))
}

/// The folder of the downloads.
pub fn cache(variable: Variable<'_>) -> Option<PathBuf> {
    let found = CACHES.into_iter().find_map(|name| path(variable, name));
    found.or_else(|| Some(home(variable)?.join("hub")))
}

fn home(variable: Variable<'_>) -> Option<PathBuf> {
    path(variable, "HF_HOME").or_else(|| {
        let cache = path(variable, "XDG_CACHE_HOME")
            .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")))?;
        Some(cache.join("huggingface"))
    })
}

fn path(variable: Variable<'_>, name: &str) -> Option<PathBuf> {
    let hub = HubVariables::collect(variable);
    let value = hub.get(name)?;
    let below_home = if value == "~" {
        Some("")
    } else {
        value.strip_prefix("~/")
    };
    match below_home {
        Some(rest) => Some(PathBuf::from(variable("HOME")?).join(rest)),
        None => Some(PathBuf::from(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_lie_where_others_look() {
        let with = |set: &'static [(&str, &str)]| {
            move |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name)?;
                Some(found.1.to_owned())
            }
        };
        let path = |text: &str| Some(PathBuf::from(text));
        let plain = with(&[("HOME", "/h")]);
        assert_eq!(token(&plain), path("/h/.cache/huggingface/token"));
        assert_eq!(cache(&plain), path("/h/.cache/huggingface/hub"));
        let moved = with(&[("HOME", "/h"), ("HF_HOME", "~/x"), ("HF_HUB_CACHE", "/c")]);
        assert_eq!(token(&moved), path("/h/x/token"));
        assert_eq!(cache(&moved), path("/c"));
        assert_eq!(token(&with(&[("HF_TOKEN_PATH", "/t")])), path("/t"));
        assert_eq!(token(&with(&[])), None);
        let written = with(&[
            ("BASE", "/b"),
            ("HF_HOME", "$BASE/x"),
            ("TRANSFORMERS_CACHE", "/t"),
        ]);
        assert_eq!(token(&written), path("/b/x/token"));
        assert_eq!(cache(&written), path("/t"));
    }
}
