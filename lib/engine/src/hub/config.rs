//! The hub's address, the cache and the token, resolved once from the standard variables of
//! `huggingface_hub`; and where this program keeps data of its own.

use std::{env, fmt, fs, path::PathBuf, time::Duration};

use wire::model::EMBEDDED_FILE;

/// How the hub is reached and where files are kept.
#[derive(Clone)]
pub struct HubConfig {
    /// Address of the hub, without a slash at the end.
    pub endpoint: String,
    /// Folder of the cache, as `HF_HUB_CACHE`.
    pub cache_dir: PathBuf,
    /// Access token; never shown.
    pub token: Option<String>,
    /// Never use the network.
    pub offline: bool,
    /// Folder of this program's own data.
    pub data_dir: PathBuf,
    /// Silence on a connection after which it counts as lost.
    pub stall_timeout: Duration,
}

impl HubConfig {
    /// Reads `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN`, `HF_TOKEN_PATH`,
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_OFFLINE` and `WARMCELL_DATA_DIR`.
    pub fn from_env() -> Self {
        Self {
            endpoint: endpoint(),
            cache_dir: cache_dir(),
            token: token(),
            offline: is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE"),
            data_dir: data_dir(),
            stall_timeout: Duration::from_secs(30),
        }
    }

    /// Path of the embedded default model, whether it is there or not.
    pub fn embedded_model(&self) -> PathBuf {
        self.data_dir.join("models").join(EMBEDDED_FILE)
    }

    /// The hub's name as it is shown: no user, password or query of the address.
    pub(super) fn shown_endpoint(&self) -> String {
        reqwest::Url::parse(&self.endpoint)
            .ok()
            .and_then(|url| url.host_str().map(ToOwned::to_owned))
            .unwrap_or_else(|| "the hub".to_owned())
    }
}

impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig")
            .field("endpoint", &self.shown_endpoint())
            .field("cache_dir", &self.cache_dir)
            .field("has_token", &self.token.is_some())
            .field("offline", &self.offline)
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

/// Folder of this program's own data: `$WARMCELL_DATA_DIR`, `$XDG_DATA_HOME/warmcell` or
/// `~/.local/share/warmcell`.
pub fn data_dir() -> PathBuf {
    folder("WARMCELL_DATA_DIR").unwrap_or_else(|| {
        folder("XDG_DATA_HOME")
            .unwrap_or_else(|| home().join(".local/share"))
            .join("warmcell")
    })
}

/// Path of the embedded default model, if it is there.
pub fn embedded_model_path() -> Option<PathBuf> {
    let path = data_dir().join("models").join(EMBEDDED_FILE);
    path.is_file().then_some(path)
}

/// Address of the hub: `$HF_ENDPOINT`, or the public one. It can carry a password; do not show it.
pub fn endpoint() -> String {
    let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
    endpoint.trim_end_matches('/').to_owned()
}

/// Whether the hub answers within `timeout`; any answer will do. The error is a short reason.
pub fn reachable(timeout: Duration) -> Result<(), String> {
    let config = HubConfig {
        stall_timeout: timeout,
        ..HubConfig::from_env()
    };
    if config.offline {
        return Err("HF_HUB_OFFLINE forbids using the hub".to_owned());
    }
    super::remote::probe(&config, timeout)
}

fn cache_dir() -> PathBuf {
    folder("HF_HUB_CACHE")
        .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
        .unwrap_or_else(|| hf_home().join("hub"))
}

fn hf_home() -> PathBuf {
    folder("HF_HOME").unwrap_or_else(|| {
        folder("XDG_CACHE_HOME")
            .unwrap_or_else(|| home().join(".cache"))
            .join("huggingface")
    })
}

fn token() -> Option<String> {
    if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return None;
    }
    text("HF_TOKEN")
        .or_else(|| text("HUGGING_FACE_HUB_TOKEN"))
        .or_else(|| {
            let path = folder("HF_TOKEN_PATH").unwrap_or_else(|| hf_home().join("token"));
            let token = fs::read_to_string(path).ok()?.trim().to_owned();
            (!token.is_empty()).then_some(token)
        })
}

fn is_set(variable: &str) -> bool {
    text(variable).is_some_and(|value| {
        ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
    })
}

fn text(variable: &str) -> Option<String> {
    let value = env::var(variable).ok()?.trim().to_owned();
    (!value.is_empty()).then_some(value)
}

fn folder(variable: &str) -> Option<PathBuf> {
    let value = text(variable)?;
    match value.strip_prefix("~/") {
        Some(rest) => Some(home().join(rest)),
        None => Some(PathBuf::from(value)),
    }
}

fn home() -> PathBuf {
    env::home_dir().unwrap_or_else(|| PathBuf::from("."))
}
