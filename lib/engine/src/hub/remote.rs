//! One visit to the hub: which commit and files, what is missing here, and the fetching of it. The
//! visit runs on a thread of its own that an interrupt ends at any await, also when the peer is
//! silent; events come back by a channel and are told on the caller's thread.
//!
//! hf-hub asks the API. Its download is not used (`download.rs` says why), nor is its file listing:
//! in 1.0.0 it reads a large file's SHA-256 from a key that the hub does not send, and its
//! `get_file_metadata` follows the redirect that carries `ETag` and commit away from them. So a `HEAD`
//! asks for size and hash, and follows what leads on within the hub, as in `huggingface_hub`.

use std::{
    path::PathBuf,
    sync::mpsc::{self, Sender},
    thread,
    time::Duration,
};

use hf_hub::{HFClient, HFError, split_id};
use reqwest::{Client, Response, Url, header::LOCATION, redirect::Policy};
use wire::{Failure, FailureKind, host::Event, model::ModelSource};

use super::{
    HubConfig, Wanted,
    cache::{self, RepoCache, safe_relative},
    choose::{self, Choice},
    parts::parts_of,
    refusal::{Asked, Refusal},
};
use crate::Cancel;

/// Retries of an API call or a `HEAD` that failed for a passing reason.
const RETRIES: usize = 2;
/// Redirects within the hub that are followed to a file: a renamed repository and the hub's own cache are one each.
const HOPS: usize = 10;

/// Everything one visit needs.
pub(super) struct Visit {
    pub(super) config: HubConfig,
    pub(super) asked: Asked,
    pub(super) cache: RepoCache,
    pub(super) cancel: Cancel,
    pub(super) events: Sender<Event>,
    /// Follows redirects, for bytes.
    pub(super) client: Client,
    direct: Client,
    source: ModelSource,
}

/// A file as the hub describes it.
#[derive(Clone, Debug)]
pub(super) struct RemoteFile {
    /// Name in the repository.
    pub(super) name: String,
    /// SHA-256 of a large file's contents, git's blob SHA-1 of a small one's; the blob's name.
    pub(super) etag: String,
    /// Size in bytes.
    pub(super) size: u64,
    /// Where the hub has its bytes, or leads to them; pinned to the commit, so that they never change.
    pub(super) url: Url,
}

/// Brings what is chosen into the cache and returns the snapshot's folder.
pub(super) fn fetch(
    config: &HubConfig,
    source: &ModelSource,
    wanted: Wanted,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Event),
) -> Result<(PathBuf, Choice), Failure> {
    let (sender, events) = mpsc::channel();
    let visit = Visit::new(config, source, cancel, sender)?;
    thread::scope(|scope| {
        let worker = scope.spawn(move || on_runtime(&visit, wanted));
        for event in events {
            sink(event);
        }
        worker.join().unwrap_or_else(|_| {
            Err(Failure::new(
                FailureKind::Internal,
                "the thread of a download panicked",
            ))
        })
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            let message = format!("cannot start the download's runtime: {error}");
            Failure::new(FailureKind::Internal, message)
        })
}

fn on_runtime(visit: &Visit, wanted: Wanted) -> Result<(PathBuf, Choice), Failure> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = visit.run(wanted) => result,
            () = interrupted(&visit.cancel) => Err(Failure::interrupted()),
        }
    });
    // A name look-up that hangs on its own thread must not hold up an interrupt.
    runtime.shutdown_background();
    result
}

async fn interrupted(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Visit {
    fn new(
        config: &HubConfig,
        source: &ModelSource,
        cancel: &Cancel,
        events: Sender<Event>,
    ) -> Result<Self, Failure> {
        let builder = || {
            Client::builder()
                .user_agent(concat!("warmcell/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(config.stall_timeout.min(Duration::from_secs(10)))
                .read_timeout(config.stall_timeout)
        };
        let built = |result: reqwest::Result<Client>| {
            result.map_err(|error| {
                let message = format!("cannot set up HTTP: {}", error.without_url());
                Failure::new(FailureKind::Internal, message)
            })
        };
        Ok(Self {
            asked: Asked::new(config, source),
            cache: RepoCache::new(&config.cache_dir, &source.repo),
            cancel: cancel.clone(),
            events,
            client: built(builder().build())?,
            direct: built(builder().redirect(Policy::none()).build())?,
            config: config.clone(),
            source: source.clone(),
        })
    }

    async fn run(&self, wanted: Wanted) -> Result<(PathBuf, Choice), Failure> {
        let (commit, names) = self.listing().await?;
        let choice = choose::choose(&self.source, wanted, &names)?;
        let folder = self.cache.snapshot_folder(&commit);
        let files = match &choice {
            Choice::Gguf(file) => parts_of(file).unwrap_or_else(|| vec![file.clone()]),
            Choice::Folder { files } => files.clone(),
        };
        self.bring(&commit, &files).await?;
        if let Some(index) = choose::index_of(&files) {
            let shards = choose::shards(&folder.join(index))?;
            self.bring(&commit, &shards).await?;
        }
        let revision = self.source.revision.as_deref().unwrap_or("main");
        self.cache.remember(revision, &commit);
        Ok((folder, choice))
    }

    /// The commit that the revision names, and the names of its files.
    async fn listing(&self) -> Result<(String, Vec<String>), Failure> {
        let client = self.api().map_err(|error| self.asked.failed(&error))?;
        let (owner, name) = split_id(&self.source.repo);
        let revision = self.source.revision.as_deref().unwrap_or("main");
        let info = client
            .model(owner, name)
            .info()
            .revision(revision)
            .send()
            .await
            .map_err(|error| self.asked.failed(&error))?;
        let names = info.siblings.unwrap_or_default();
        let names = names
            .into_iter()
            .map(|file| file.rfilename)
            .filter(|name| safe_relative(name).is_some())
            .collect();
        match info.sha {
            Some(commit) if cache::is_commit(&commit) => Ok((commit, names)),
            _ => Err(self.asked.away("named no commit")),
        }
    }

    fn api(&self) -> Result<HFClient, HFError> {
        // hf-hub looks for a token in the environment when it is given none; one that is no header
        // value is never sent.
        let token = self.config.token.as_deref().unwrap_or("\n");
        HFClient::builder()
            .endpoint(&self.config.endpoint)
            .cache_dir(&self.config.cache_dir)
            .client(self.client.clone())
            .token(token)
            .retry_max_attempts(RETRIES)
            .build()
    }

    async fn bring(&self, commit: &str, files: &[String]) -> Result<(), Failure> {
        for name in files {
            if self.cache.snapshot_folder(commit).join(name).exists() {
                continue;
            }
            let file = self.describe(commit, name).await?;
            self.cache.prepare()?;
            self.download(&file).await?;
            self.cache.link(commit, name, &file.etag)?;
        }
        Ok(())
    }

    /// Size and hash of a file, from the answer that has its bytes or leads away from the hub for them. What leads
    /// on within the hub, of a renamed repository or of a small file, says of itself how long it is, not of the file.
    async fn describe(&self, commit: &str, name: &str) -> Result<RemoteFile, Failure> {
        let mut url = self.address(commit, name)?;
        for _ in 0..=HOPS {
            let answer = self.head(&url, name).await?;
            match within_hub(&url, &answer) {
                Some(next) => url = next,
                None => {
                    return described(name, url, &answer)
                        .ok_or_else(|| self.asked.away("did not say what the file is"));
                }
            }
        }
        Err(self.asked.away(&format!("leads in circles to `{name}`")))
    }

    /// What the hub says of one address; tried again where it failed for a passing reason.
    async fn head(&self, url: &Url, name: &str) -> Result<Response, Failure> {
        let mut retries = 0;
        loop {
            let request = self.authorised(self.direct.head(url.clone()));
            match request.send().await {
                Ok(answer) if answer.status().is_success() || answer.status().is_redirection() => {
                    return Ok(answer);
                }
                Ok(answer) => {
                    let refusal = Refusal::of(answer.status(), answer.headers());
                    if !refusal.is_passing() || retries == RETRIES {
                        return Err(self.asked.refused(&refusal, Some(name)));
                    }
                }
                // A hub that is not there stays away; a connection that was lost may come back.
                Err(error) if error.is_connect() || retries == RETRIES => {
                    return Err(self.asked.unreached(&error));
                }
                Err(_) => {}
            }
            retries += 1;
            tokio::time::sleep(Duration::from_millis(200 << retries)).await;
        }
    }

    /// The repository's name.
    pub(super) fn repo(&self) -> &str {
        &self.source.repo
    }

    /// Adds the token, which the client drops again at a redirect to another host.
    pub(super) fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = request.header("accept-encoding", "identity");
        match &self.config.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn address(&self, commit: &str, name: &str) -> Result<Url, Failure> {
        let broken = || {
            Failure::new(
                FailureKind::InvalidArgument,
                "HF_ENDPOINT is not an address",
            )
        };
        let mut url = Url::parse(&self.config.endpoint).map_err(|_| broken())?;
        url.path_segments_mut()
            .map_err(|()| broken())?
            .pop_if_empty()
            .extend(self.source.repo.split('/'))
            .extend(["resolve", commit])
            .extend(name.split('/'));
        Ok(url)
    }
}

/// Where an answer leads on within the hub, which gets the token there, too: by a redirect that names no host. One that
/// does is the answer itself (`_request_wrapper` with `follow_relative_redirects`, `huggingface_hub/file_download.py`).
fn within_hub(url: &Url, answer: &Response) -> Option<Url> {
    if !answer.status().is_redirection() {
        return None;
    }
    let location = answer.headers().get(LOCATION)?.to_str().ok()?;
    let next = url.join(location).ok()?;
    // `//host` and `/\host` name one, too.
    (Url::parse(location).is_err() && next.origin() == url.origin()).then_some(next)
}

/// By `get_hf_file_metadata`, `huggingface_hub/file_download.py`; but a redirect's own length is never the file's.
fn described(name: &str, url: Url, answer: &Response) -> Option<RemoteFile> {
    let text = |key: &str| answer.headers().get(key)?.to_str().ok();
    let etag = text("x-linked-etag").or_else(|| text("etag"))?;
    let etag = etag
        .trim_start_matches("W/")
        .trim_matches('"')
        .to_lowercase();
    let is_hash =
        matches!(etag.len(), 40 | 64) && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    let own_length = || text("content-length").filter(|_| answer.status().is_success());
    let size = text("x-linked-size").or_else(own_length)?;
    is_hash.then_some(RemoteFile {
        name: name.to_owned(),
        etag,
        size: size.parse().ok()?,
        url,
    })
}
