//! What is in memory, and how to free it.

use std::fmt;

use wire::{
    host::{HostStatus, Request, Response, UnloadTarget},
    model::Resident,
};

use crate::{
    Result,
    backend::{run, unexpected},
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
pub fn unload(name: &str) -> Result<Vec<Resident>> {
    match run(&Request::Unload(UnloadTarget::Name(name.to_owned())))? {
        Response::Unloaded(freed) => Ok(freed),
        other => Err(unexpected(&other)),
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
        use ::display::RichDisplay;
        f.write_str(self.status.bundle().get("text/plain").unwrap_or_default())
    }
}
