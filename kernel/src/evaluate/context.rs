//! Setting up evcxr: its options, its folder, its child process, and the library in scope.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow};
use evcxr::{CommandContext, EvalContext, EvalContextOutputs};

use super::{control::Runner, session::Session, template::Template, versions};
use crate::{
    cli::DATA_DIR_VAR,
    runner::{self, SESSION_DIR_VAR},
};

/// evcxr's options for cells: dependencies are dynamic, so that a static in one of them exists once
/// and a cell links in little time.
pub const CELL_OPTIONS: &str = "[evcxr]
allow_static_linking = false
preserve_vars_on_panic = true
";

/// The optimisation that cells start with. It halves rustc's share; dependencies are optimised.
pub const DEFAULT_LEVEL: &str = "0";

/// The value of evcxr's optimisation level for `level`. evcxr writes it into the middle of the
/// manifest's profile, so more than a number can stand there: the rest of the profile, our own
/// dependency, and the head of a profile that nobody uses for what evcxr writes behind it.
///
/// With the library in the first manifest, the analyser reads the project once. Brought in by
/// `:dep` it was read twice, two of the five seconds that a kernel took to start.
///
/// The library's macros are made with all of `syn`, which most crates with macros ask for: were it compiled
/// anew for one that `:dep` adds, all that is made with it would be, the library too, in a minute. Nothing is
/// built for this entry itself, since there is no build script.
pub fn optimisation(level: &str, library: &Path) -> String {
    format!(
        r#"{level}
debug = false
strip = "debuginfo"
rpath = true
debug-assertions = true
overflow-checks = true
package."*".opt-level = 2

[target."cfg(all())".dependencies]
warmcell = {{ path = {:?} }}

[target."cfg(all())".build-dependencies]
syn = {{ version = "3", features = ["extra-traits", "fold", "full", "visit", "visit-mut"] }}

[profile.release]
opt-level = 0"#,
        library.display().to_string()
    )
}

/// What the runner needs to know.
#[derive(Clone)]
pub struct Surroundings {
    /// The folder in which cells run.
    working_dir: PathBuf,
    /// The session's name, and its folders and socket.
    session_id: String,
    runtime_dir: PathBuf,
    config_dir: PathBuf,
    cell_socket: PathBuf,
    /// The model host's socket.
    host_socket: PathBuf,
    /// Where this program keeps its data; the host, started from a cell, must find the same.
    data_dir: PathBuf,
}

impl Surroundings {
    /// Those of a session whose cells run in the current folder.
    pub fn of(session: &Session, host_socket: PathBuf, data_dir: &Path) -> Result<Self> {
        Ok(Self {
            working_dir: env::current_dir().context("the current folder is gone")?,
            session_id: session.id.clone(),
            runtime_dir: session.runtime_dir().to_owned(),
            config_dir: session.config_dir(),
            cell_socket: session.cell_socket(),
            host_socket,
            data_dir: data_dir.to_owned(),
        })
    }
}

/// Starts evcxr in `crate_dir`, where the library is compiled, with it in scope. Takes seconds:
/// rust-analyzer loads. Of the cells that evcxr starts with, none runs, since another may be running; the only
/// one that the compiler sees is the one that it refuses.
pub fn open_beside(
    crate_dir: &Path,
    library: &Path,
    surroundings: &Surroundings,
) -> Result<CommandContext> {
    let mark = crate_dir.join(OPENING);
    fs::write(&mark, [])?;
    let context = open(crate_dir, library, surroundings);
    fs::remove_file(&mark)?;
    context
}

/// The file in a cells' crate that is there while evcxr starts beside.
pub const OPENING: &str = "opening";

/// Starts evcxr in `crate_dir` with the library in scope.
fn open(crate_dir: &Path, library: &Path, surroundings: &Surroundings) -> Result<CommandContext> {
    let config = format!(
        "{CELL_OPTIONS}tmpdir = {:?}\nopt_level = '''{}'''\n",
        crate_dir.display().to_string(),
        optimisation(DEFAULT_LEVEL, library)
    );
    fs::write(surroundings.config_dir.join("evcxr.toml"), config)?;
    let (context, outputs) = in_folder(&surroundings.config_dir, || {
        let mut relay = runner_command(crate_dir, surroundings)?;
        relay.arg(runner::RELAY);
        EvalContext::with_subprocess_command(relay).map_err(|error| anyhow!("{error}"))
    })?
    .context("cannot start the evaluation of Rust")?;
    tracing::debug!("evcxr is up");
    discard(outputs);
    let mut context = CommandContext::with_eval_context(context);
    context
        .execute(&prelude())
        .map_err(|error| anyhow!("cannot bring the library into scope: {error}"))?;
    tracing::debug!("the library is in scope");
    Ok(context)
}

/// What brings the library into scope. The `?` makes evcxr write cells so that they may use it. Left
/// to the first cell that does, it would compile that twice, and show a last expression by `Debug`
/// alone.
pub fn prelude() -> String {
    format!(
        "{}use warmcell::prelude::*;\n{QUESTION_MARK}\n",
        versions::PREPARED
    )
}

const QUESTION_MARK: &str = "Ok::<(), std::fmt::Error>(())?;";

/// What evcxr writes into every cell once it knows of the `?`.
const KNOWS_QUESTION_MARKS: &str = "struct EvcxrUserCodeError";

/// Whether this is the source of the prelude that the compiler has to refuse: from its error evcxr learns of
/// the `?`. Nothing of it runs.
pub fn learns_of_question_marks(source: &Path) -> bool {
    fs::read_to_string(source).is_ok_and(|source| {
        source.contains(QUESTION_MARK) && !source.contains(KNOWS_QUESTION_MARKS)
    })
}

/// Builds the template's crate folder, for [`Template::build`].
pub fn compile_template(
    template: &Template,
    crate_dir: &Path,
    surroundings: &Surroundings,
) -> Result<()> {
    let _runner = start_runner(crate_dir, surroundings)?;
    let mut context = open(crate_dir, &template.library(), surroundings)?;
    context
        .execute("1 + 1")
        .map_err(|error| anyhow!("a first cell does not run: {error}"))?;
    Ok(())
}

/// evcxr looks for its options in the current folder first; the user's own `evcxr.toml` must not
/// undo what the template was built with.
fn in_folder<T>(folder: &Path, action: impl FnOnce() -> T) -> Result<T> {
    let before = env::current_dir().context("the current folder is gone")?;
    env::set_current_dir(folder).with_context(|| format!("cannot enter `{}`", folder.display()))?;
    let value = action();
    // A folder that was removed meanwhile cannot be entered again; absolute paths go on working.
    let _ = env::set_current_dir(before);
    Ok(value)
}

/// Starts the process in which cells run; evcxr's child only passes on what it says to it.
pub fn start_runner(crate_dir: &Path, surroundings: &Surroundings) -> Result<Runner> {
    Runner::start(runner_command(crate_dir, surroundings)?).context("cannot start the cell runner")
}

fn runner_command(crate_dir: &Path, surroundings: &Surroundings) -> Result<Command> {
    let binary = env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(&binary);
    command
        .arg(runner::COMMAND)
        .current_dir(&surroundings.working_dir)
        .env(SESSION_DIR_VAR, &surroundings.runtime_dir)
        .env(wire::KERNEL_SOCKET_VAR, &surroundings.cell_socket)
        .env(wire::HOST_SOCKET_VAR, &surroundings.host_socket)
        .env(wire::SESSION_VAR, &surroundings.session_id)
        .env(wire::BINARY_VAR, &binary)
        .env(DATA_DIR_VAR, &surroundings.data_dir)
        .env("LD_LIBRARY_PATH", library_path(crate_dir)?);
    Ok(command)
}

/// Where the cells' dynamic libraries lie: those of the crate, and Rust's standard library. A path
/// relative to the cell would point wrong, since evcxr moves the cell after linking.
fn library_path(crate_dir: &Path) -> Result<String> {
    let print = |what: &str| -> Result<String> {
        let output = Command::new("rustc")
            .args(["--print", what])
            .output()
            .context("cannot run `rustc`")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let standard = print("target-libdir")?;
    let target = print("host-tuple")?;
    let dependencies = crate_dir.join("target").join(target).join("debug/deps");
    // The loader never looks again into a folder that was missing when the process started.
    fs::create_dir_all(&dependencies).context("cannot make the folder of the cells' libraries")?;
    let inherited = env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let parts = [dependencies.display().to_string(), standard, inherited];
    Ok(parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(":"))
}

/// Lines that reach evcxr's own channels come from the runner or from cargo, never from a cell; they
/// are logged, and the receivers must live, or evcxr waits for them.
fn discard(outputs: EvalContextOutputs) {
    for receiver in [outputs.stdout, outputs.stderr] {
        std::thread::spawn(move || {
            for line in receiver {
                tracing::warn!(%line, "from the cell runner");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The prelude was not compiled, so that the first cell of evcxr's was compiled twice, and showed its value
    /// by `Debug`.
    #[test]
    fn the_compiler_sees_the_question_mark_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("lib.rs");
        let learns = |text: &str| {
            fs::write(&source, text).expect("a file");
            learns_of_question_marks(&source)
        };
        assert!(learns(&format!(
            "pub extern \"C\" fn run() {{\n{}}}",
            prelude()
        )));
        assert!(!learns(&format!(
            "struct EvcxrUserCodeError {{}}\n{}",
            prelude()
        )));
        assert!(!learns("pub extern \"C\" fn run() {}"));
    }
}
