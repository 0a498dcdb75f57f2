//! What the hub's refusals mean and what a user can do about each. The codes are those that
//! `huggingface_hub` reads (`utils/_http.py`, `hf_raise_for_status`); no address with a query and no
//! header is shown.

use std::{error::Error, time::Duration};

use hf_hub::HFError;
use reqwest::{StatusCode, header::HeaderMap};
use wire::{Failure, FailureKind, model::ModelSource};

use super::HubConfig;

/// Most characters that are shown of a sentence of the hub's.
const LONGEST_SENTENCE: usize = 300;

/// On whose behalf the hub is asked.
#[derive(Clone)]
pub(super) struct Asked {
    repo: String,
    revision: String,
    host: String,
    /// Addresses of the repository's page and of the page of tokens.
    page: String,
    tokens: String,
    has_token: bool,
}

/// The parts of a refusing answer that say why.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    /// Reads an answer's status and headers.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        Self {
            status,
            code: text("x-error-code"),
            message: text("x-error-message"),
            retry_after: text("retry-after")
                .and_then(|seconds| seconds.parse().ok())
                .map(Duration::from_secs),
        }
    }

    /// Whether the same request may succeed a little later.
    pub(super) fn is_passing(&self) -> bool {
        self.status.is_server_error()
            || self.status == StatusCode::TOO_MANY_REQUESTS
            || self.status == StatusCode::REQUEST_TIMEOUT
    }
}

impl Asked {
    pub(super) fn new(config: &HubConfig, source: &ModelSource) -> Self {
        Self {
            repo: source.repo.clone(),
            revision: source.revision.clone().unwrap_or_else(|| "main".to_owned()),
            host: config.shown_endpoint(),
            page: config.shown_page(&source.repo),
            tokens: config.shown_page("settings/tokens"),
            has_token: config.token.is_some(),
        }
    }

    /// The failure of a request that the hub refused.
    pub(super) fn refused(&self, refusal: &Refusal, file: Option<&str>) -> Failure {
        let status = refusal.status.as_u16();
        // A wrong token: the hub sends no code, only this sentence.
        let bad_token = refusal
            .message
            .as_deref()
            .is_some_and(|message| message.contains("Invalid credentials"));
        match (refusal.code.as_deref(), status) {
            (Some("GatedRepo"), _) => self.gated(),
            (Some("RevisionNotFound"), _) => self.no_revision(),
            (Some("EntryNotFound"), _) => self.no_entry(file),
            (Some("RepoNotFound"), _) => self.no_repository(),
            (_, 401) if bad_token || self.has_token => self.wrong_token(),
            (_, 401 | 404) => self.no_repository(),
            (_, 403) => self.forbidden(refusal.message.as_deref()),
            (_, 429) => self.limited(refusal.retry_after),
            _ => self.away(&format!("answered {}", refusal.status)),
        }
    }

    /// The failure of a call of the hub's API.
    pub(super) fn failed(&self, error: &HFError) -> Failure {
        match error {
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::RateLimited { context, .. }
            | HFError::RepoNotFound {
                context: Some(context),
                ..
            }
            | HFError::RevisionNotFound {
                context: Some(context),
                ..
            } => {
                let retry_after = match error {
                    HFError::RateLimited { retry_after, .. } => *retry_after,
                    _ => None,
                };
                let refusal = Refusal {
                    status: context.status,
                    code: context.error_code.clone(),
                    message: context.server_message.clone(),
                    retry_after,
                };
                self.refused(&refusal, None)
            }
            HFError::Request { source, .. } => self.unreached(source),
            HFError::Url(_) => Failure::new(
                FailureKind::InvalidArgument,
                "HF_ENDPOINT is not an address",
            )
            .hint("set it to something like https://huggingface.co, or unset it"),
            _ => self.away("gave an answer that is not the hub's"),
        }
    }

    /// The failure of a request that got no usable answer.
    pub(super) fn unreached(&self, error: &reqwest::Error) -> Failure {
        if error.is_decode() {
            return self.away("gave an answer that is not the hub's");
        }
        self.away(&format!("was not reached ({})", transport_reason(error)))
    }

    /// The hub is away: cached files may serve.
    pub(super) fn away(&self, how: &str) -> Failure {
        let message = format!("cannot fetch `{}`: {} {how}", self.repo, self.host);
        Failure::new(FailureKind::Offline, message)
    }

    fn gated(&self) -> Failure {
        let (repo, page) = (&self.repo, &self.page);
        let (message, hint) = if self.has_token {
            (
                format!("cannot fetch `{repo}`: the account of your token has no access to it"),
                format!(
                    "accept the licence at {page} with that account, or \
                     wait until its owner grants your request"
                ),
            )
        } else {
            (
                format!("cannot fetch `{repo}`: its licence has to be accepted first"),
                format!(
                    "accept the licence at {page}, then set HF_TOKEN to a \
                     token of that account"
                ),
            )
        };
        Failure::new(FailureKind::Gated, message).hint(hint)
    }

    fn wrong_token(&self) -> Failure {
        let message = format!("cannot fetch `{}`: the hub refused your token", self.repo);
        Failure::new(FailureKind::Unauthorized, message).hint(format!(
            "set HF_TOKEN to a valid token from {}",
            self.tokens
        ))
    }

    fn forbidden(&self, said: Option<&str>) -> Failure {
        let said: String = said
            .unwrap_or_default()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(LONGEST_SENTENCE)
            .collect();
        let why = match said.trim() {
            "" if self.has_token => "your token may not read it".to_owned(),
            "" => format!("{} does not let it be read without a token", self.host),
            said => format!("{} says: {said}", self.host),
        };
        let message = format!("cannot fetch `{}`: {why}", self.repo);
        Failure::new(FailureKind::Unauthorized, message).hint(if self.has_token {
            "give the token read access to this repository's contents, or use another".to_owned()
        } else {
            format!(
                "see {}; if it is to be read with a token, set HF_TOKEN to one",
                self.page
            )
        })
    }

    fn no_repository(&self) -> Failure {
        let message = format!(
            "cannot fetch `{}`: no such repository, or a private one",
            self.repo
        );
        Failure::new(FailureKind::NotFound, message).hint(if self.has_token {
            "check the spelling, and that your token's account may read it"
        } else {
            "check the spelling; for a private repository set HF_TOKEN"
        })
    }

    fn no_revision(&self) -> Failure {
        let message = format!("`{}` has no revision `{}`", self.repo, self.revision);
        Failure::new(FailureKind::NotFound, message)
            .hint("give a branch, a tag or a full commit id; `main` is the default")
    }

    fn no_entry(&self, file: Option<&str>) -> Failure {
        let message = match file {
            Some(file) => format!("`{}` has no file `{file}`", self.repo),
            None => format!("`{}` has no such file", self.repo),
        };
        Failure::new(FailureKind::NotFound, message).hint(format!("see {}/tree/main", self.page))
    }

    fn limited(&self, retry_after: Option<Duration>) -> Failure {
        let wait = match retry_after {
            Some(wait) => format!("try again in {} s", wait.as_secs()),
            None => "try again in a few minutes".to_owned(),
        };
        let hint = if self.has_token {
            wait
        } else {
            format!("{wait}; with HF_TOKEN set the limit is higher")
        };
        self.away("limits how often this machine may ask")
            .hint(hint)
    }
}

/// Why a request got no answer, in a few words and without its address.
pub(super) fn transport_reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    if error.is_redirect() {
        return "it leads in circles".to_owned();
    }
    let mut root: &dyn Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    match root
        .downcast_ref::<std::io::Error>()
        .map(std::io::Error::kind)
    {
        Some(std::io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(std::io::ErrorKind::ConnectionReset) => "connection reset".to_owned(),
        _ if error.is_connect() => root.to_string(),
        _ => "connection lost".to_owned(),
    }
}
