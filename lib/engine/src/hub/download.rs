//! One file into the cache: under a lock, from where an earlier try ended, hashed while it is
//! written, and named only when size and hash are right.
//!
//! hf-hub 1.0.0 does none of that: its download truncates the `.incomplete` file, checks neither
//! hash nor size, takes the text of an error for the contents, and cannot be interrupted. A resumed
//! download sends no `If-Range`: large files come from a store with tags of its own, which would
//! answer with the whole file. The address is pinned to a commit, the blob is named by the hub's
//! `ETag`, and the hash covers what was kept and what was added.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Write},
    path::PathBuf,
    sync::mpsc::Sender,
    time::{Duration, Instant},
};

use reqwest::{Response, StatusCode, header};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use wire::{
    Failure, FailureKind,
    host::{Event, Progress, Stage},
};

use super::{
    cache::write_failure,
    refusal::{Refusal, transport_reason},
    remote::{RemoteFile, Visit},
};
use crate::Cancel;

/// Tries in a row that bring no byte before the download is given up.
const TRIES: u32 = 4;
/// Longest time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// The hint where bytes are not those of the hub.
const ALTERED: &str =
    "run it again; if it stays so, a proxy or mirror between here and the hub alters it";

/// How one transfer ended early.
enum Stop {
    /// For a reason that may pass; and how long to wait, when the hub said so.
    Lost(String, Option<Duration>),
    /// For good.
    Failed(Failure),
}

impl Visit {
    /// Brings a file's blob into the cache, unless it is there.
    pub(super) async fn download(&self, file: &RemoteFile) -> Result<(), Failure> {
        let blob = self.cache.blob(&file.etag);
        if blob.exists() {
            return Ok(());
        }
        let lock = self.lock(file).await?;
        // Another process may have fetched it meanwhile.
        if blob.exists() {
            return Ok(());
        }
        let mut partial = Partial::open(self, file)?;
        let resumed = partial.done > 0;
        self.transfer(&mut partial, file).await?;
        if resumed && !partial.is_right(file) {
            // What an earlier try left was not of this file; once more from the start.
            partial.restart()?;
            self.transfer(&mut partial, file).await?;
        }
        if !partial.is_right(file) {
            return Err(self.corrupt(&partial, file));
        }
        partial.finish(blob).await?;
        drop(lock);
        Ok(())
    }

    /// Waits for the blob's lock; the interrupt ends the wait.
    async fn lock(&self, file: &RemoteFile) -> Result<File, Failure> {
        let mut waits = 0_u32;
        loop {
            if let Some(lock) = self.cache.try_lock(&file.etag)? {
                return Ok(lock);
            }
            waits += 1;
            if waits == 20 {
                let notice = format!("waiting: `{}` is being fetched by another", file.name);
                let _ = self.events.send(Event::Notice(notice));
            }
            tokio::time::sleep(PROGRESS_EVERY).await;
        }
    }

    /// Transfers until all bytes are there, going on after a lost connection.
    async fn transfer(&self, partial: &mut Partial, file: &RemoteFile) -> Result<(), Failure> {
        // Where a server starts over, bytes that were there before are no progress.
        let (mut tries, mut furthest) = (0, partial.done);
        while partial.done < file.size {
            let (reason, wait) = match self.transfer_once(partial, file).await {
                Ok(()) => ("connection lost".to_owned(), None),
                Err(Stop::Lost(reason, wait)) => (reason, wait),
                Err(Stop::Failed(failure)) => return Err(failure),
            };
            tries = if partial.done > furthest {
                1
            } else {
                tries + 1
            };
            furthest = furthest.max(partial.done);
            if partial.done < file.size && tries >= TRIES {
                return Err(self.lost(partial, file, &reason));
            }
            if partial.done < file.size {
                let backoff = Duration::from_millis(100 << tries);
                let wait = wait.unwrap_or(backoff).min(Duration::from_secs(30));
                tokio::time::sleep(wait).await;
            }
        }
        partial.tell(true);
        Ok(())
    }

    async fn transfer_once(&self, partial: &mut Partial, file: &RemoteFile) -> Result<(), Stop> {
        let mut request = self.authorised(self.client.get(file.url.clone()));
        if partial.done > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", partial.done));
        }
        let lost = |error: &reqwest::Error| Stop::Lost(transport_reason(error), None);
        let mut answer = request.send().await.map_err(|error| lost(&error))?;
        let status = answer.status();
        if !matches!(
            status,
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE
        ) {
            return Err(self.stop(&answer, file));
        }
        self.check(&answer, file).map_err(Stop::Failed)?;
        if !continues(&answer, partial.done, file.size) {
            let done = partial.done;
            partial.restart().map_err(Stop::Failed)?;
            if status != StatusCode::OK {
                let reason = format!("the server did not go on after {done} bytes");
                return Err(Stop::Lost(reason, None));
            }
        }
        while let Some(bytes) = answer.chunk().await.map_err(|error| lost(&error))? {
            partial.write(&bytes).map_err(Stop::Failed)?;
            // More than announced is not this file; the hash will say so.
            if partial.done > file.size {
                break;
            }
        }
        Ok(())
    }

    /// Refuses an answer that cannot be of the file that the hub described.
    fn check(&self, answer: &Response, file: &RemoteFile) -> Result<(), Failure> {
        let header = |name| answer.headers().get(name)?.to_str().ok();
        let altered = |how: String| {
            let message = format!("cannot fetch `{}` from `{}`: {how}", file.name, self.repo());
            Failure::new(FailureKind::Corrupt, message).hint(ALTERED)
        };
        if let Some(encoding) = header(header::CONTENT_ENCODING)
            && !encoding.eq_ignore_ascii_case("identity")
        {
            return Err(altered(format!(
                "it came encoded as {encoding:?}, and was asked for as it is"
            )));
        }
        let size = if answer.status() == StatusCode::OK {
            header(header::CONTENT_LENGTH)
        } else {
            header(header::CONTENT_RANGE).and_then(|range| range.rsplit('/').next())
        };
        match size.and_then(|size| size.parse::<u64>().ok()) {
            Some(size) if size != file.size => Err(altered(format!(
                "the hub says that it has {} bytes, the server has {size}",
                file.size
            ))),
            _ => Ok(()),
        }
    }

    fn stop(&self, answer: &Response, file: &RemoteFile) -> Stop {
        let refusal = Refusal::of(answer.status(), answer.headers());
        if refusal.is_passing() {
            let reason = format!("the server answered {}", refusal.status);
            return Stop::Lost(reason, refusal.retry_after);
        }
        Stop::Failed(self.asked.refused(&refusal, Some(&file.name)))
    }

    fn lost(&self, partial: &Partial, file: &RemoteFile, reason: &str) -> Failure {
        let message = format!(
            "the download of `{}` from `{}` stopped at {} of {} bytes: {reason}",
            file.name,
            self.repo(),
            partial.done,
            file.size
        );
        Failure::new(FailureKind::Offline, message)
            .hint("run it again: it goes on where it stopped")
    }

    fn corrupt(&self, partial: &Partial, file: &RemoteFile) -> Failure {
        // Nothing of it can be trusted, so that the next try starts afresh.
        let _ = fs::remove_file(&partial.path);
        let message = format!(
            "`{}` from `{}` came damaged: its contents do not match the hash that the hub gives",
            file.name,
            self.repo()
        );
        Failure::new(FailureKind::Corrupt, message).hint(ALTERED)
    }
}

/// Whether an answer continues at `done` of `size` bytes.
fn continues(answer: &Response, done: u64, size: u64) -> bool {
    if done == 0 {
        return answer.status() == StatusCode::OK;
    }
    let range = answer.headers().get(header::CONTENT_RANGE);
    answer.status() == StatusCode::PARTIAL_CONTENT
        && range
            .and_then(|range| range.to_str().ok()?.strip_prefix("bytes "))
            .is_some_and(|range| {
                range.starts_with(&format!("{done}-")) && range.ends_with(&format!("/{size}"))
            })
}

/// The hash that names a blob: SHA-256 of the contents, or git's SHA-1 of header and contents.
enum BlobHash {
    Sha256(Sha256),
    Git(Sha1),
}

impl BlobHash {
    fn of(file: &RemoteFile) -> Self {
        if file.etag.len() == 64 {
            return Self::Sha256(Sha256::new());
        }
        let mut hash = Sha1::new();
        hash.update(format!("blob {}\0", file.size));
        Self::Git(hash)
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Git(hash) => hash.update(bytes),
        }
    }

    fn hex(&self) -> String {
        let bytes = match self {
            Self::Sha256(hash) => hash.clone().finalize().to_vec(),
            Self::Git(hash) => hash.clone().finalize().to_vec(),
        };
        bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// A blob without its name yet: the file, what is in it and the hash of that.
struct Partial {
    path: PathBuf,
    output: File,
    file: RemoteFile,
    hash: BlobHash,
    done: u64,
    events: Sender<Event>,
    told: Option<Instant>,
}

impl Partial {
    /// Opens what an earlier try left, or an empty file.
    fn open(visit: &Visit, file: &RemoteFile) -> Result<Self, Failure> {
        let path = visit.cache.incomplete(&file.etag);
        let output = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(|error| write_failure("write", &path, &error))?;
        let left = output.metadata().map_or(0, |metadata| metadata.len());
        let mut partial = Self {
            hash: BlobHash::of(file),
            file: file.clone(),
            events: visit.events.clone(),
            path,
            output,
            done: 0,
            told: None,
        };
        if left > file.size {
            partial.restart()?;
        } else {
            partial.read_back(left, &visit.cancel)?;
        }
        Ok(partial)
    }

    /// Hashes what is there already.
    fn read_back(&mut self, left: u64, cancel: &Cancel) -> Result<(), Failure> {
        let mut buffer = vec![0; 1 << 20];
        while self.done < left {
            cancel.check()?;
            let count = match self.output.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(write_failure("read", &self.path, &error)),
            };
            self.hash.update(&buffer[..count]);
            self.done += count as u64;
            self.progress(Stage::Verify, false);
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Failure> {
        self.output
            .set_len(0)
            .map_err(|error| write_failure("write", &self.path, &error))?;
        self.hash = BlobHash::of(&self.file);
        self.done = 0;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.output
            .write_all(bytes)
            .map_err(|error| write_failure("write", &self.path, &error))?;
        self.hash.update(bytes);
        self.done += bytes.len() as u64;
        self.tell(false);
        Ok(())
    }

    fn tell(&mut self, last: bool) {
        self.progress(Stage::Download, last);
    }

    fn progress(&mut self, stage: Stage, last: bool) {
        let due = self
            .told
            .is_none_or(|told| told.elapsed() >= PROGRESS_EVERY);
        if !last && !due {
            return;
        }
        self.told = Some(Instant::now());
        // The receiver outlives the visit; an event that nobody takes is no failure of the download.
        let _ = self.events.send(Event::Progress(Progress {
            stage,
            subject: self.file.name.clone(),
            done: self.done,
            total: Some(self.file.size),
        }));
    }

    fn is_right(&self, file: &RemoteFile) -> bool {
        self.done == file.size && self.hash.hex() == file.etag
    }

    /// Brings the bytes to the disk and gives the blob its name.
    async fn finish(self, blob: PathBuf) -> Result<(), Failure> {
        let Self { path, output, .. } = self;
        let finished = tokio::task::spawn_blocking(move || {
            output
                .sync_data()
                .and_then(|()| fs::rename(&path, &blob))
                .map_err(|error| write_failure("write", &blob, &error))
        });
        finished.await.unwrap_or_else(|error| {
            let message = format!("cannot finish a download: {error}");
            Err(Failure::new(FailureKind::Internal, message))
        })
    }
}
