//! The history of inputs: a file of JSON lines in the user's data folder, shared by all kernels of
//! the user, each of which writes under a session number of its own. A file that cannot be used
//! costs the history, never a cell.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jupyter_protocol::messaging::HistoryRequest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::glob;

/// At a start, a file that has grown past this many bytes is cut to its newer half.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// One line of the file. A session starts with a line without input, which reserves its number.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    session: i64,
    #[serde(default)]
    line: i64,
    #[serde(default)]
    input: Option<String>,
}

/// The history as one kernel sees it.
pub(crate) struct History {
    path: Option<PathBuf>,
    session: i64,
}

impl History {
    /// Opens the history and reserves a session number. Without a path, or when the file cannot
    /// be used, there is no history.
    pub(crate) fn open(path: Option<&Path>) -> Self {
        let Some(path) = path else {
            return Self {
                path: None,
                session: 1,
            };
        };
        match start_session(path) {
            Ok(session) => Self {
                path: Some(path.to_owned()),
                session,
            },
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "no history");
                Self {
                    path: None,
                    session: 1,
                }
            }
        }
    }

    /// Stores the input of a cell.
    pub(crate) fn append(&self, line: u32, input: &str) {
        let Some(path) = &self.path else { return };
        let entry = Entry {
            session: self.session,
            line: line.into(),
            input: Some(input.to_owned()),
        };
        let appended = lock(path).and_then(|mut file| write_entry(&mut file, &entry));
        if let Err(error) = appended {
            tracing::warn!(%error, path = %path.display(), "cannot store an input");
        }
    }

    /// The content of a `history_reply`.
    pub(crate) fn answer(&self, request: &HistoryRequest) -> Value {
        let entries = match &self.path {
            Some(path) => lock(path).and_then(|mut file| read_entries(&mut file)),
            None => Ok(Vec::new()),
        };
        let entries = entries.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the history");
            Vec::new()
        });
        let entries: Vec<Entry> = entries.into_iter().filter(|e| e.input.is_some()).collect();
        let (selected, output) = self.select(entries, request);
        let history: Vec<Value> = selected.iter().map(|entry| triple(entry, output)).collect();
        json!({ "status": "ok", "history": history })
    }

    fn select(&self, entries: Vec<Entry>, request: &HistoryRequest) -> (Vec<Entry>, bool) {
        match request {
            HistoryRequest::Range {
                session,
                start,
                stop,
                output,
                ..
            } => {
                let session = i64::from(session.unwrap_or(0));
                // Numbers up to 0 count back from this session.
                let session = if session > 0 {
                    session
                } else {
                    self.session + session
                };
                let lines = i64::from(*start)..i64::from(*stop);
                let in_range = |e: &Entry| e.session == session && lines.contains(&e.line);
                (entries.into_iter().filter(in_range).collect(), *output)
            }
            HistoryRequest::Tail { n, output, .. } => (last(entries, *n), *output),
            HistoryRequest::Search {
                pattern,
                unique,
                output,
                n,
                ..
            } => {
                let matching = |e: &Entry| glob::matches(pattern, e.input.as_deref().unwrap_or(""));
                let mut found: Vec<Entry> = entries.into_iter().filter(matching).collect();
                if *unique {
                    keep_newest(&mut found);
                }
                (last(found, *n), *output)
            }
        }
    }
}

/// An entry as the protocol has it. Outputs are not stored, and null says so, as in `IPython`.
fn triple(entry: &Entry, output: bool) -> Value {
    if output {
        json!([entry.session, entry.line, [entry.input, null]])
    } else {
        json!([entry.session, entry.line, entry.input])
    }
}

fn last(mut entries: Vec<Entry>, n: i32) -> Vec<Entry> {
    let n = usize::try_from(n).unwrap_or(0);
    entries.drain(..entries.len().saturating_sub(n));
    entries
}

/// Of equal inputs, keeps the last one.
fn keep_newest(entries: &mut Vec<Entry>) {
    let mut seen = std::collections::HashSet::new();
    entries.reverse();
    entries.retain(|entry| seen.insert(entry.input.clone()));
    entries.reverse();
}

fn start_session(path: &Path) -> io::Result<i64> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = lock(path)?;
    let mut entries = read_entries(&mut file)?;
    let session = entries.iter().map(|entry| entry.session).max().unwrap_or(0) + 1;
    if file.metadata()?.len() > MAX_BYTES {
        entries.drain(..entries.len() / 2);
        file.set_len(0)?;
        for entry in &entries {
            write_entry(&mut file, entry)?;
        }
    }
    write_entry(
        &mut file,
        &Entry {
            session,
            line: 0,
            input: None,
        },
    )?;
    Ok(session)
}

/// Opens the file for its owner only and waits for the other kernels to leave it.
fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    file.lock()?;
    Ok(file)
}

fn write_entry(file: &mut File, entry: &Entry) -> io::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// All entries; a line that is none (a disk was full) is skipped.
fn read_entries(file: &mut File) -> io::Result<Vec<Entry>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|l| serde_json::from_slice(l).ok())
        .collect())
}
