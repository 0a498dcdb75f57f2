//! The messages between a cell, the kernel and the model host: plain serde types and the
//! framing they travel in. No I/O happens here; who opens a socket and who reads it is decided by
//! the callers, so that both ends, and the library's in-process engine, share one vocabulary.

pub mod array;
pub mod cell;
pub mod embedded;
pub mod failure;
pub mod frame;
pub mod generate;
mod generation_config;
pub mod host;
pub mod hub;
pub mod logprobs;
pub mod mime;
pub mod model;
mod module;
mod packed;
pub mod pipeline;
pub mod place;
pub mod quantization_report;
pub mod task;
pub mod text;
pub mod text2text;
pub mod text_generation;
pub mod tokenize;
pub mod widget;

pub use failure::{Failure, FailureKind};

/// Version of the protocol between client and model host: a hash of the messages' own sources, so
/// that no change of theirs can forget it. A host of another version is replaced.
pub const PROTOCOL_VERSION: u32 = {
    let sources: [&[u8]; 18] = [
        include_bytes!("array.rs"),
        include_bytes!("failure.rs"),
        include_bytes!("frame.rs"),
        include_bytes!("generate.rs"),
        include_bytes!("generation_config.rs"),
        include_bytes!("host.rs"),
        include_bytes!("hub.rs"),
        include_bytes!("logprobs.rs"),
        include_bytes!("mime.rs"),
        include_bytes!("model.rs"),
        include_bytes!("module.rs"),
        include_bytes!("packed.rs"),
        include_bytes!("pipeline.rs"),
        include_bytes!("quantization_report.rs"),
        include_bytes!("text.rs"),
        include_bytes!("text2text.rs"),
        include_bytes!("text_generation.rs"),
        include_bytes!("tokenize.rs"),
    ];
    // FNV-1a: short enough for a constant, and nobody attacks it.
    let mut hash = 0x811c_9dc5_u32;
    let mut source = 0;
    while source < sources.len() {
        let mut byte = 0;
        while byte < sources[source].len() {
            hash = (hash ^ sources[source][byte] as u32).wrapping_mul(0x0100_0193);
            byte += 1;
        }
        source += 1;
    }
    hash
};

/// The cell's environment variable with the path of the kernel's socket for displays and input.
pub const KERNEL_SOCKET_VAR: &str = "WARMCELL_KERNEL_SOCKET";

/// The environment variable with the path of the model host's socket.
pub const HOST_SOCKET_VAR: &str = "WARMCELL_HOST_SOCKET";

/// The environment variable with the path of the `warmcell` binary that a client starts as host.
pub const BINARY_VAR: &str = "WARMCELL_BIN";

/// The environment variable that names the kernel a cell belongs to, by which its requests can be
/// cancelled together.
pub const SESSION_VAR: &str = "WARMCELL_SESSION";

/// The environment variable that moves the folder of this program's own data.
pub const DATA_DIR_VAR: &str = "WARMCELL_DATA_DIR";
