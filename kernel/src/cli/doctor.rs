//! `warmcell doctor`: what Warmcell needs on this machine, a line a check. Nothing is changed.

use std::{
    env, fs,
    net::{TcpStream, ToSocketAddrs},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::Result;
use display::units::bytes;
use wire::{Failure, embedded::FETCHED};

use super::{
    console::say,
    hooks, paths, process, python,
    setup::{self, kernelspec, toolchain},
};
use crate::cards::{self, Listed};

const HUB_LIMIT: Duration = Duration::from_secs(3);

/// What a check found.
enum Finding {
    /// All is well.
    Good(String),
    /// It works without, or set-up does it by itself.
    Note(String),
    /// Nothing works before this is done.
    Missing(String),
}

use Finding::{Good, Missing, Note};

/// One line of the report.
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// `ok`, `--` for what set-up brings or nobody needs, `!!` for what is missing.
    pub state: &'static str,
    /// What was found, and what to do.
    pub text: String,
}

const MISSING: &str = "!!";

/// Runs all checks. Exits with 1 when something is missing that set-up cannot bring.
pub fn run() -> Result<ExitCode> {
    let checks = checks()?;
    for Check { name, state, text } in &checks {
        say(format_args!("{state}  {name:<9} {text}"));
    }
    Ok(if checks.iter().all(|check| check.state != MISSING) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Looks at everything, in the order of the report.
pub fn checks() -> Result<Vec<Check>> {
    let data = paths::data_dir()?;
    let findings = [
        ("rust", rust()),
        ("rust-src", sources()),
        ("linker", linker()),
        ("python", python_on_path()),
        ("jupyter", jupyter(&data)),
        ("model", models(&data)),
        ("cells", library(&data)),
        ("kernel", kernel()),
        ("cuda", cuda()),
        ("hub", hub()),
        ("sockets", sockets()),
        ("host", host()),
    ];
    let check = |(name, finding)| {
        let (state, text) = match finding {
            Good(text) => ("ok", text),
            Note(text) => ("--", text),
            Missing(text) => (MISSING, text),
        };
        Check { name, state, text }
    };
    Ok(findings.into_iter().map(check).collect())
}

fn rust() -> Finding {
    let version = |program| process::output_of(Command::new(program).arg("--version"));
    match (version("rustc"), version("cargo")) {
        (Some(rustc), Some(_)) => Good(rustc),
        _ => Missing(
            "`rustc` and `cargo` compile the cells: install them from https://rustup.rs".to_owned(),
        ),
    }
}

fn sources() -> Finding {
    match toolchain::sources_are_there() {
        Ok(true) => Good("the standard library's sources are there".to_owned()),
        Ok(false) if paths::find_program("rustup").is_some() => {
            Note("absent; `warmcell setup` installs it (rustup component add rust-src)".to_owned())
        }
        _ => Missing(
            "the standard library's sources are absent: `rustup component add rust-src`".to_owned(),
        ),
    }
}

fn linker() -> Finding {
    if paths::find_program("cc").is_none() {
        return Missing("`cc` links the cells: `apt install gcc libc6-dev`".to_owned());
    }
    match ["mold", "ld.lld"]
        .into_iter()
        .find(|name| paths::find_program(name).is_some())
    {
        Some(name) => Good(format!("cc; {name} is there too")),
        None => {
            Good("cc (not required: `apt install mold` makes linking a little faster)".to_owned())
        }
    }
}

fn python_on_path() -> Finding {
    match python::find() {
        Ok(python) => {
            let (major, minor) = python.version;
            Good(format!("{major}.{minor} at {}", python.program.display()))
        }
        Err(error) => Missing(one_line(&error)),
    }
}

fn jupyter(data: &Path) -> Finding {
    if setup::environment_is_ready(data) {
        return Good(paths::venv(data).display().to_string());
    }
    Note("not set up; `warmcell setup`, `run` and `lab` do it".to_owned())
}

fn models(data: &Path) -> Finding {
    let missing: Vec<&str> = FETCHED
        .iter()
        .filter(|model| !setup::missing_files(data, model).is_empty())
        .map(|model| model.repo)
        .collect();
    if missing.is_empty() {
        return Good(paths::models(data).display().to_string());
    }
    Note(format!(
        "not there: {}; `warmcell setup` fetches it (190 MB for all)",
        missing.join(", ")
    ))
}

fn library(data: &Path) -> Finding {
    match hooks::library_is_built(data) {
        Ok(true) => Good("the library for cells is built".to_owned()),
        _ => Note("the library for cells is not built; `warmcell setup` does it".to_owned()),
    }
}

fn kernel() -> Finding {
    let (Ok(data), Ok(binary)) = (paths::jupyter_data_dir(), kernelspec::current_binary()) else {
        return Missing(
            "neither HOME nor JUPYTER_DATA_DIR says where kernels are registered".to_owned(),
        );
    };
    let folder = data.join("kernels").join(kernelspec::NAME);
    let Some(spec) = kernelspec::read(&folder) else {
        return Note("not registered for this user; `warmcell install` does it".to_owned());
    };
    let program = spec["argv"][0].as_str().unwrap_or_default();
    if Path::new(program) == binary {
        Good(folder.display().to_string())
    } else {
        Note(format!(
            "registered for `{program}`, not for this program; `warmcell install` changes it"
        ))
    }
}

fn cuda() -> Finding {
    let built = cards::built();
    let listed = match cards::list() {
        Ok(listed) => listed,
        Err(Failure { message, hint, .. }) => {
            let hint = hint.unwrap_or_default();
            return Note(format!("{message}; {built}; models run on the CPU: {hint}"));
        }
    };
    let found = match listed.as_slice() {
        [] => "a driver, but no card".to_owned(),
        cards => cards.iter().map(card).collect::<Vec<_>>().join("; "),
    };
    match engine::cuda::usable(0) {
        Ok(()) => Good(format!("{found}; {built}")),
        Err(failure) => {
            let hint = failure.hint.unwrap_or_default();
            Note(format!("{found}; {built}; models run on the CPU: {hint}"))
        }
    }
}

fn card(card: &Listed) -> String {
    let Listed {
        device,
        name,
        capability,
        memory: [used, free, total],
        driver,
        ..
    } = card;
    let facts = [
        ("compute capability", capability),
        ("memory", total),
        ("used", used),
        ("free", free),
        ("driver", driver),
    ];
    let facts = facts.into_iter().filter_map(|(name, fact)| {
        let fact = fact.as_ref()?;
        Some(format!("{name} {fact}"))
    });
    let device = device.as_deref().unwrap_or("not for this process:");
    let facts: Vec<String> = facts.collect();
    format!("{device} {name} ({})", facts.join(", "))
}

fn hub() -> Finding {
    if env::var("HF_HUB_OFFLINE")
        .is_ok_and(|value| matches!(value.to_lowercase().as_str(), "1" | "on" | "yes" | "true"))
    {
        return Note("HF_HUB_OFFLINE is set: only what is on this machine is used".to_owned());
    }
    let endpoint = env::var("HF_ENDPOINT")
        .ok()
        .filter(|endpoint| !endpoint.is_empty());
    let endpoint = endpoint.unwrap_or_else(|| "https://huggingface.co".to_owned());
    let host = shown(&endpoint);
    if can_connect(&endpoint) {
        return Good(format!("{host} is reached"));
    }
    Note(format!(
        "{host} is not reached: the embedded models and what is cached work; HF_ENDPOINT names a mirror"
    ))
}

/// An address without what may be a user name and a password.
fn shown(endpoint: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('@') {
            Some((_, host)) => format!("{scheme}://{host}"),
            None => endpoint.to_owned(),
        },
        None => endpoint.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

fn can_connect(endpoint: &str) -> bool {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let authority = rest.split('/').next().unwrap_or(rest);
    let address = if authority.contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:{}", if scheme == "http" { 80 } else { 443 })
    };
    let Ok(mut addresses) = address.to_socket_addrs() else {
        return false;
    };
    addresses.any(|address| TcpStream::connect_timeout(&address, HUB_LIMIT).is_ok())
}

fn sockets() -> Finding {
    let socket = hooks::host_socket();
    let Some(folder) = socket.parent() else {
        return Missing(format!("{} has no folder", socket.display()));
    };
    match fs::metadata(folder) {
        Err(_) => Good(format!("{} is made when it is needed", folder.display())),
        Ok(found) if found.uid() != rustix::process::getuid().as_raw() => Missing(format!(
            "{} belongs to another user; set XDG_RUNTIME_DIR to a folder of your own",
            folder.display()
        )),
        Ok(found) if found.permissions().mode() & 0o077 != 0 => Missing(format!(
            "others can enter {}: `chmod 700` it",
            folder.display()
        )),
        Ok(_) => Good(folder.display().to_string()),
    }
}

fn host() -> Finding {
    match hooks::host_status() {
        Ok(Some(status)) => {
            let held = match status.models.len() {
                1 => "1 model".to_owned(),
                count => format!("{count} models"),
            };
            let memory = bytes(status.process_bytes);
            Good(format!("process {} holds {held} in {memory}", status.pid))
        }
        Ok(None) => Good("not running; the first cell that needs a model starts it".to_owned()),
        Err(error) => Note(format!(
            "{}; `warmcell host stop` ends it",
            one_line(&error)
        )),
    }
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_nobody_serves_is_not_reached() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        assert!(can_connect(&format!("http://{address}/path")));
        // Not the same one once it is free: another test may be given it.
        assert!(!can_connect("http://127.0.0.1:1"));
    }
}
