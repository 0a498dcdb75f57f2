//! What the stand-in serves: the files of a repository, what the hub says of each, and how the
//! repository is to fail.

use std::{collections::BTreeMap, fmt::Write as _, fs, io, path::Path};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The one commit of every repository here; `main` names it.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// From this size on a file is kept as a large one, as `.gguf` and `.safetensors` always are.
const LARGE: usize = 1 << 20;

/// How a repository fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// To be seen with a token alone, as a private one.
    Private,
    /// Files only with a token of an account that accepted the licence: 401 without one, 403 with.
    Gated,
    /// Every request with a token is refused as the hub refuses a wrong one.
    WrongToken,
    /// The connection ends after this many bytes of a file, so many times.
    Cut {
        /// Bytes of the body that are sent.
        after: usize,
        /// How often; then it works.
        times: u32,
    },
    /// The contents are not those of the hash.
    WrongContents,
    /// Nothing more comes after this many bytes, and the connection stays open.
    Stall {
        /// Bytes of the body that are sent.
        after: usize,
    },
    /// Every request is refused, with this sentence where there is one.
    Forbidden {
        /// What the hub says.
        message: Option<&'static str>,
    },
    /// This status answers the next requests, so many of them.
    Status {
        /// 429 or 503.
        status: u16,
        /// How often; then it works.
        times: u32,
    },
    /// The connection ends before an answer to what is asked of a file, so many times.
    HangUp {
        /// How often; then it works.
        times: u32,
    },
    /// A range is answered with the whole file.
    NoRanges,
    /// A range is answered with the whole file, and each connection ends after this many bytes.
    CutWhole {
        /// Bytes of the body that are sent.
        after: usize,
    },
    /// Small files lead to themselves, without end.
    Circle,
    /// The hub says that files kept outside git are of this size.
    Announced {
        /// In bytes.
        size: usize,
    },
    /// Bodies say that they are compressed.
    Compressed,
    /// Files come slowly, in small pieces.
    Slow {
        /// So many bytes a second.
        rate: u32,
    },
}

/// A repository.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(crate) name: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Names that it had before; they lead to the one that it has.
    pub(crate) former: Vec<String>,
    /// Other names of its commit.
    revisions: Vec<String>,
    pub(crate) fault: Option<Fault>,
}

impl Repository {
    /// An empty repository `owner/name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            files: BTreeMap::new(),
            former: Vec::new(),
            revisions: Vec::new(),
            fault: None,
        }
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, path: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), contents.into());
        self
    }

    /// Adds a name that it had before: `owner/name`, or one without an owner, of the hub's first years.
    #[must_use]
    pub fn formerly(mut self, name: impl Into<String>) -> Self {
        self.former.push(name.into());
        self
    }

    /// Adds a branch, a tag or an abbreviated commit that means the one commit.
    #[must_use]
    pub fn revision(mut self, name: impl Into<String>) -> Self {
        self.revisions.push(name.into());
        self
    }

    /// Whether there is such a revision.
    pub(crate) fn has_revision(&self, name: &str) -> bool {
        name == "main" || name == COMMIT || self.revisions.iter().any(|known| known == name)
    }

    /// All files below a folder. A file `.revisions` names revisions, one a line, a file `.pace` the bytes a
    /// second at which files come; neither is served.
    pub fn from_folder(name: impl Into<String>, folder: &Path) -> io::Result<Self> {
        let mut repository = Self::new(name);
        let mut open = vec![(folder.to_owned(), String::new())];
        while let Some((folder, prefix)) = open.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
                if entry.path().is_dir() {
                    open.push((entry.path(), format!("{path}/")));
                } else {
                    repository.files.insert(path, fs::read(entry.path())?);
                }
            }
        }
        if let Some(pace) = repository.files.remove(".pace") {
            let rate = String::from_utf8_lossy(&pace).trim().parse().ok();
            repository.fault = rate.map(|rate| Fault::Slow { rate });
        }
        if let Some(revisions) = repository.files.remove(".revisions") {
            let names = String::from_utf8_lossy(&revisions);
            repository.revisions = names.lines().map(str::to_owned).collect();
        }
        Ok(repository)
    }
}

/// Whether the hub keeps a file outside git.
pub(crate) fn is_large(path: &str, contents: &[u8]) -> bool {
    [".gguf", ".safetensors"]
        .iter()
        .any(|end| path.ends_with(end))
        || contents.len() >= LARGE
}

/// The hash that the hub gives as a file's `ETag`.
pub(crate) fn etag(path: &str, contents: &[u8]) -> String {
    if is_large(path, contents) {
        return hex(&Sha256::digest(contents));
    }
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", contents.len()));
    hash.update(contents);
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
