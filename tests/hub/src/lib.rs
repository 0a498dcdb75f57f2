//! A small stand-in for the model hub on loopback: it serves repositories from memory through the
//! hub's own API, counts what it served, and fails on request. It knows nothing of who asks.

mod http;
mod repository;

use std::{
    collections::HashMap,
    io,
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

pub use repository::{COMMIT, Fault, Repository};

/// What has been served so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Requests of the API.
    pub api: u64,
    /// `HEAD` requests of files, at each address that leads to one.
    pub heads: u64,
    /// `GET` requests of files' bytes, in the same way.
    pub gets: u64,
    /// Requests of the store of large files that had a token, which is the hub's alone.
    pub strayed_tokens: u64,
    /// Bytes of files' contents written.
    pub bytes: u64,
}

/// A running stand-in; it ends when dropped.
pub struct StandinHub {
    state: Arc<State>,
}

pub(crate) struct State {
    pub(crate) port: u16,
    repositories: Mutex<HashMap<String, Repository>>,
    pub(crate) api: AtomicU64,
    pub(crate) heads: AtomicU64,
    pub(crate) gets: AtomicU64,
    pub(crate) strayed_tokens: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) stopped: AtomicBool,
}

impl StandinHub {
    /// Starts on a free port of loopback.
    pub fn start(repositories: Vec<Repository>) -> io::Result<Self> {
        Self::start_on(0, repositories)
    }

    /// Starts on a port; 0 for a free one.
    pub fn start_on(port: u16, repositories: Vec<Repository>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            port,
            repositories: Mutex::new(
                repositories
                    .into_iter()
                    .map(|repository| (repository.name.clone(), repository))
                    .collect(),
            ),
            api: AtomicU64::new(0),
            heads: AtomicU64::new(0),
            gets: AtomicU64::new(0),
            strayed_tokens: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopped.load(Ordering::Acquire) {
                    return;
                }
                let state = Arc::clone(&serving);
                if let Ok(stream) = stream {
                    // A client that leaves in the middle is what the faults are about.
                    thread::spawn(move || drop(http::serve(&stream, &state)));
                }
            }
        });
        Ok(Self { state })
    }

    /// Its address, for `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.state.port)
    }

    /// What has been served so far.
    pub fn served(&self) -> Served {
        Served {
            api: self.state.api.load(Ordering::Acquire),
            heads: self.state.heads.load(Ordering::Acquire),
            gets: self.state.gets.load(Ordering::Acquire),
            strayed_tokens: self.state.strayed_tokens.load(Ordering::Acquire),
            bytes: self.state.bytes.load(Ordering::Acquire),
        }
    }

    /// Lets a repository fail, or with `None` work again.
    pub fn set_fault(&self, repository: &str, fault: Option<Fault>) {
        if let Some(repository) = self.state.repositories().get_mut(repository) {
            repository.fault = fault;
        }
    }
}

impl Drop for StandinHub {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Release);
        // Wakes the listener, which then sees that it is to end.
        drop(TcpStream::connect(("127.0.0.1", self.state.port)));
    }
}

impl State {
    pub(crate) fn repositories(&self) -> MutexGuard<'_, HashMap<String, Repository>> {
        self.repositories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads repositories from a folder of `owner/name/` folders.
pub fn repositories_in(folder: &Path) -> io::Result<Vec<Repository>> {
    let mut repositories = Vec::new();
    for owner in std::fs::read_dir(folder)? {
        let owner = owner?;
        for name in std::fs::read_dir(owner.path())? {
            let name = name?;
            let id = format!(
                "{}/{}",
                owner.file_name().to_string_lossy(),
                name.file_name().to_string_lossy()
            );
            repositories.push(Repository::from_folder(id, &name.path())?);
        }
    }
    Ok(repositories)
}
