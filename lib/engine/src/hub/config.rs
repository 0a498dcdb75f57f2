//! The hub's address, the cache and the token, from the standard variables of `huggingface_hub` as
//! the client has them; and where this program keeps data of its own.

use std::{env, fmt, fs, path::PathBuf, time::Duration};

use wire::hub::{CACHES, HubVariables};

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
    /// By a client's variables.
    pub fn new(variables: &HubVariables) -> Self {
        let read = Reader(variables);
        let endpoint = variables.get("HF_ENDPOINT").unwrap_or(PUBLIC);
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache_dir: read.cache_dir(),
            token: read.token(),
            offline: read.is_set("HF_HUB_OFFLINE") || read.is_set("TRANSFORMERS_OFFLINE"),
            // Not a client's: one host keeps its data in one place.
            data_dir: wire::place::data_dir(|name| env::var_os(name))
                .unwrap_or_else(|| PathBuf::from(".")),
            stall_timeout: Duration::from_secs(30),
        }
    }

    /// The folder of the embedded models, whether they are there or not.
    pub(super) fn models(&self) -> PathBuf {
        self.data_dir.join("models")
    }

    /// The hub's name as it is shown: no user, password or query of the address.
    pub(super) fn shown_endpoint(&self) -> String {
        reqwest::Url::parse(&self.endpoint)
            .ok()
            .and_then(|url| url.host_str().map(ToOwned::to_owned))
            .unwrap_or_else(|| "the hub".to_owned())
    }

    /// The address of one of the hub's pages as it is shown, without user, password and query.
    pub(super) fn shown_page(&self, path: &str) -> String {
        let shown = || {
            let mut url = reqwest::Url::parse(&self.endpoint).ok()?;
            url.set_username("").ok()?;
            url.set_password(None).ok()?;
            url.set_query(None);
            url.set_fragment(None);
            Some(url.as_str().trim_end_matches('/').to_owned())
        };
        format!("{}/{path}", shown().unwrap_or_else(|| PUBLIC.to_owned()))
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

/// The hub's address where none is set.
const PUBLIC: &str = "https://huggingface.co";

/// What the variables mean, as `huggingface_hub/constants.py` reads them.
struct Reader<'a>(&'a HubVariables);

impl Reader<'_> {
    fn cache_dir(&self) -> PathBuf {
        let path = CACHES.into_iter().find_map(|name| self.path(name));
        path.unwrap_or_else(|| self.hf_home().join("hub"))
    }

    fn hf_home(&self) -> PathBuf {
        self.path("HF_HOME").unwrap_or_else(|| {
            self.path("XDG_CACHE_HOME")
                .unwrap_or_else(|| home().join(".cache"))
                .join("huggingface")
        })
    }

    fn token(&self) -> Option<String> {
        if self.is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return None;
        }
        let token = self.0.get("HF_TOKEN");
        if let Some(token) = token.or_else(|| self.0.get("HUGGING_FACE_HUB_TOKEN")) {
            return Some(token.to_owned());
        }
        let path = self.path("HF_TOKEN_PATH");
        let path = path.unwrap_or_else(|| self.hf_home().join("token"));
        let token = fs::read_to_string(path).ok()?.trim().to_owned();
        (!token.is_empty()).then_some(token)
    }

    fn is_set(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| {
            ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
        })
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.0.get(name)?;
        match value.strip_prefix('~') {
            Some("") => Some(home()),
            Some(rest) if rest.starts_with('/') => Some(home().join(rest.trim_start_matches('/'))),
            _ => Some(PathBuf::from(value)),
        }
    }
}

fn home() -> PathBuf {
    env::home_dir().unwrap_or_else(|| PathBuf::from("."))
}
