//! What is in memory, and how to free it.

use std::{fmt, ops::Deref};

use ::display::{Freed, RichDisplay};
use wire::{
    host::{HostStatus, Request, Response, UnloadTarget},
    model::Resident,
};

use crate::{
    Result,
    backend::{run, unexpected},
    model::source,
    rich::shows_as,
};

/// The models in memory, with bytes and age.
///
/// ```no_run
/// # use warmcell::prelude::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// for one in models()?.resident() {
///     println!("{}: {} bytes", one.info.name, one.info.bytes);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The model host cannot be started or reached.
pub fn models() -> Result<Models> {
    match run(&Request::Status)? {
        Response::Status(status) => Ok(Models { status }),
        other => Err(unexpected(&other)),
    }
}

/// Frees the models of a repository or path, for all notebooks, and gives what was freed. A handle
/// to one of them stays valid and loads it again when it is used.
///
/// # Errors
/// No such model is in memory, or the model host ended.
pub fn unload(name: &str) -> Result<Unloaded> {
    match run(&Request::Unload(UnloadTarget::Name(source(name).repo)))? {
        Response::Unloaded(freed) => Ok(Unloaded {
            freed: Freed(freed),
        }),
        other => Err(unexpected(&other)),
    }
}

/// What was freed, a line a model. Reads as a slice of what was in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Unloaded {
    freed: Freed,
}

shows_as!(Unloaded, freed);

impl Deref for Unloaded {
    type Target = [Resident];

    fn deref(&self) -> &[Resident] {
        &self.freed.0
    }
}

impl IntoIterator for Unloaded {
    type Item = Resident;
    type IntoIter = std::vec::IntoIter<Resident>;

    fn into_iter(self) -> Self::IntoIter {
        self.freed.0.into_iter()
    }
}

impl fmt::Display for Unloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.freed.bundle().get("text/plain").unwrap_or_default())
    }
}

/// What is in memory. Shows as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Models {
    status: HostStatus,
}

shows_as!(Models, status);

impl Models {
    /// The models.
    pub fn resident(&self) -> &[Resident] {
        &self.status.models
    }

    /// All that is known of the process that holds them.
    pub fn status(&self) -> &HostStatus {
        &self.status
    }
}

impl fmt::Display for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.status.bundle().get("text/plain").unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `unload(name)?` as a cell's last line showed kilobytes of `Debug`.
    #[test]
    fn what_was_freed_is_told_in_a_line() {
        let unloaded = Unloaded {
            freed: Freed(Vec::new()),
        };
        assert_eq!(unloaded.to_string(), "Nothing was loaded");
        assert!(unloaded.bundle().get("text/html").is_some());
        assert!(unloaded.is_empty());
    }
}
