//! Asking the model host on a command's behalf: it is started when none runs, and an interrupt cancels
//! the request by the kernel's id.

use std::process::{Command, Stdio};

use ::host::{HostError, client};
use jupyter::CellError;
use wire::{
    host::{Event, HostStatus, Request, Response},
    hub::HubVariables,
};

use super::{Assistant, Commands, error, strings};

/// Sends a request and gives its answer; `on_event` hears what comes before.
pub fn ask(
    commands: &Commands,
    request: Request,
    on_event: &mut dyn FnMut(Event),
) -> Result<Response, CellError> {
    let place = &commands.place;
    if status(commands)?.is_none() {
        start()?;
    }
    let variables = commands.environment.all();
    // What a cell that asks for the same would send.
    let hub = HubVariables::collect(|name| variables.get(name).cloned());
    let hub = hub.from_folder(&place.working_dir);
    client::request(&place.host_socket, &place.session, request, hub, on_event).map_err(from_host)
}

/// What the host holds; `None` when none runs.
pub fn status(commands: &Commands) -> Result<Option<HostStatus>, CellError> {
    client::status(&commands.place.host_socket).map_err(from_host)
}

/// An answer that does not fit the request.
pub fn unexpected() -> CellError {
    error::failed(
        "HostError",
        "the model host gave an answer of another kind",
        "`warmcell host stop` ends it; the next cell starts a new one",
    )
}

/// The error that a host's failure becomes.
pub fn from_host(failure: HostError) -> CellError {
    match failure {
        HostError::Failed(failure) => error::from_failure(failure),
        HostError::Ended => error::failed(
            "HostError",
            failure.to_string(),
            "run the cell again: the host is started and the model is loaded again",
        ),
        other => error::failed(
            "HostError",
            other.to_string(),
            "`warmcell host stop` ends it; the next cell starts a new one",
        ),
    }
}

/// Names of models that a word could be: all that are at hand.
pub fn names(assistant: &Assistant) -> Vec<String> {
    let known = strings::known_models(assistant).into_iter();
    known.map(|(name, _)| name).collect()
}

/// Names of the models in memory.
pub fn resident(assistant: &Assistant) -> Vec<String> {
    let status = client::status(&assistant.place.host_socket).ok().flatten();
    let models = status.map(|status| status.models).unwrap_or_default();
    models.into_iter().map(|model| model.info.name).collect()
}

/// By the command line, in a process that ends at once: the host is then no child of the kernel, whose
/// interrupts end its children.
fn start() -> Result<(), CellError> {
    let failed = |reason: String| {
        error::failed(
            "HostError",
            format!("the model host cannot be started: {reason}"),
            "`warmcell host start` in a terminal says more",
        )
    };
    let binary = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let output = Command::new(binary)
        .args(["host", "start"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}
