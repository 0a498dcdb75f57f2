//! Standard input of a cell: there is no terminal, so a read of it asks the front end for a line. The
//! runner sends the process's own reads here; those of its children find the end of the file.

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
};

use wire::cell::{CellMessage, KernelMessage};

use super::{kernel, unsafe_fork::PerProcess};

/// What the user typed and nobody has read yet.
static TYPED: PerProcess<Mutex<Vec<u8>>> = PerProcess::new();

/// Reads at least one byte into `buffer`; `None` when the front end gives no line.
pub(super) fn read(buffer: &mut [u8]) -> Option<usize> {
    let mut typed = TYPED.get().lock().unwrap_or_else(PoisonError::into_inner);
    if typed.is_empty() {
        let question = CellMessage::Input {
            prompt: String::new(),
            password: false,
        };
        let refusal = match kernel::send(&question) {
            Ok(KernelMessage::Input(line)) => {
                typed.extend_from_slice(line.as_bytes());
                typed.push(b'\n');
                None
            }
            Ok(KernelMessage::Refused(reason)) => Some(reason),
            Ok(KernelMessage::Accepted | KernelMessage::Widget(_)) => {
                Some("it did not answer".to_owned())
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = refusal {
            let line = format!(
                "standard input was read, but the front end gives no line: {reason}\n\
                 hint: `input(\"…\")?` says so in an error of its own; JupyterLab gives lines\n"
            );
            // In one piece: another thread may print as well.
            let _ = std::io::stderr().write_all(line.as_bytes());
            return None;
        }
    }
    let length = buffer.len().min(typed.len());
    buffer[..length].copy_from_slice(&typed[..length]);
    typed.drain(..length);
    Some(length)
}
