//! rustc as cargo calls it for cells: this binary stands before the compiler (`RUSTC_WRAPPER`),
//! makes dependencies dynamic and rewrites the cell, then becomes rustc.
//!
//! evcxr brings such a wrapper too. Its way to make a crate without `std` dynamic, naming the
//! standard library as `core`, fails since that library's metadata lies in a file of its own (Rust
//! 1.95: "only metadata stub found"); this one names both files. It also leaves build scripts and
//! procedural macros alone, and costs no second process.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{analyst, busy, context, rewrite, versions};

const WRAPPER_VAR: &str = "EVCXR_RUSTC_WRAPPER";
const CORE_VAR: &str = "EVCXR_CORE_EXTERN";
const CELL_LIBRARY_VAR: &str = "EVCXR_EXECUTION_SO_PATH";
const CELL_CRATE: &str = "ctx";

/// The name that types of cells carry inside, whichever way a cell is compiled.
const CELL_METADATA: &str = "metadata=warmcell";

/// The file in a cells' crate that says how cargo last called rustc for a cell.
pub const RECORD: &str = "cell-rustc.json";

/// How rustc is called for a cell, but for its source and what is to come out of it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub rustc: String,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// The crate's folder, which the arguments name.
    folder: String,
}

impl Record {
    /// Reads what was written for the crate that now is in `folder`, to which it may have been
    /// copied.
    ///
    /// # Errors
    /// The file cannot be read, or is not what this program writes.
    pub fn read(path: &Path, folder: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let mut record: Self = serde_json::from_slice(&text)
            .with_context(|| format!("`{}` is damaged", path.display()))?;
        let folder = folder.display().to_string();
        for argument in &mut record.arguments {
            *argument = argument.replace(&record.folder, &folder);
        }
        for (_, value) in &mut record.environment {
            *value = value.replace(&record.folder, &folder);
        }
        record.folder = folder;
        Ok(record)
    }

    /// Whether a crate of both lies in another file in this one.
    pub fn has_others_than(&self, known: &Self) -> bool {
        let other = |name| self.crates().find(|(own, _)| *own == name);
        known
            .crates()
            .any(|(name, file)| other(name).is_some_and(|(_, own)| own != file))
    }

    fn crates(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.arguments.windows(2);
        pairs
            .filter(|pair| pair[0] == "--extern")
            .filter_map(|pair| pair[1].split_once('='))
    }

    fn new(rustc: &str, arguments: &[OsString]) -> Option<Self> {
        let folder = env::current_dir()
            .ok()?
            .into_os_string()
            .into_string()
            .ok()?;
        let mut kept = Vec::with_capacity(arguments.len());
        let mut rest = arguments.iter().map(|argument| argument.to_str());
        while let Some(argument) = rest.next() {
            let argument = argument?;
            match argument {
                "--out-dir" => drop(rest.next()),
                "src/lib.rs" => {}
                _ if [
                    "--emit=",
                    "--error-format=",
                    "--json=",
                    "--diagnostic-width=",
                ]
                .iter()
                .any(|option| argument.starts_with(option)) => {}
                _ => kept.push(argument.to_owned()),
            }
        }
        let environment = env::vars()
            .filter(|(name, _)| name.starts_with("CARGO_") || name == "LD_LIBRARY_PATH")
            .collect();
        Some(Self {
            rustc: rustc.to_owned(),
            arguments: kept,
            environment,
            folder,
        })
    }

    fn write(&self) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        serde_json::to_writer(&mut file, self)?;
        file.persist(Path::new(&self.folder).join(RECORD))?;
        Ok(())
    }
}

/// Becomes rustc when cargo started this process as its wrapper; `None` otherwise. Must be the
/// first thing in `main`.
pub fn compile_hook() -> Option<ExitCode> {
    env::var_os(WRAPPER_VAR)?;
    let mut arguments = env::args().skip(1);
    let Some(rustc) = arguments.next() else {
        return Some(ExitCode::FAILURE);
    };
    let arguments: Vec<String> = arguments.collect();
    // Build scripts ask so too, in folders of their own.
    if arguments == ["-vV"] && env::var_os("CARGO_MANIFEST_DIR").is_none() {
        versions::look_after(Path::new("."));
    }
    let invocation = Invocation::parse(&arguments);
    announce_cell(&invocation);
    announce_crate(&invocation);
    let rustc_arguments = invocation.rustc_arguments(&arguments);
    if let Some(source) = invocation.cell_source {
        let is_opening = Path::new(context::OPENING).exists();
        if is_opening && !context::learns_of_question_marks(Path::new(source))
            || analyst::has_run_already(Path::new(source))
        {
            return Some(leave_empty(&invocation));
        }
        // Without a record the next cell is compiled by cargo as well, or says what is wrong.
        let _ = Record::new(&rustc, &rustc_arguments).map(|record| record.write());
        // A source that cannot be rewritten is compiled as it is, and rustc says what is wrong.
        let _ = rewrite::rewrite_file(Path::new(source));
    }
    let mut command = Command::new(rustc);
    command.args(rustc_arguments);
    for variable in [WRAPPER_VAR, CORE_VAR, CELL_LIBRARY_VAR] {
        command.env_remove(variable);
    }
    let error = command.exec();
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("cannot run rustc: {error}\n"),
    );
    Some(ExitCode::FAILURE)
}

/// What of a call matters here.
struct Invocation<'a> {
    crate_name: &'a str,
    out_dir: Option<&'a str>,
    /// Cells and their dependencies are built for a named target, build scripts and macros are not.
    for_cells: bool,
    links: bool,
    is_lib: bool,
    cell_source: Option<&'a str>,
}

impl<'a> Invocation<'a> {
    fn parse(arguments: &'a [String]) -> Self {
        let value_of = |name: &str| {
            arguments
                .windows(2)
                .find(|pair| pair[0] == name)
                .map(|pair| pair[1].as_str())
        };
        let crate_types = arguments
            .windows(2)
            .filter(|pair| pair[0] == "--crate-type");
        let crate_types: Vec<&str> = crate_types.map(|pair| pair[1].as_str()).collect();
        let crate_name = value_of("--crate-name").unwrap_or_default();
        let links = arguments
            .iter()
            .any(|argument| argument.starts_with("--emit=") && argument.contains("link"));
        let has_library = arguments
            .windows(2)
            .any(|pair| pair[0] == "--extern" && pair[1].starts_with("warmcell="));
        let source = arguments
            .iter()
            .map(String::as_str)
            .find(|argument| argument.ends_with("src/lib.rs"));
        Self {
            crate_name,
            out_dir: value_of("--out-dir"),
            for_cells: value_of("--target").is_some(),
            links,
            is_lib: crate_types == ["lib"],
            cell_source: source.filter(|_| crate_name == CELL_CRATE && links && has_library),
        }
    }

    fn rustc_arguments(&self, arguments: &[String]) -> Vec<OsString> {
        if !(self.for_cells && self.links) {
            return arguments.iter().map(OsString::from).collect();
        }
        let mut mapped: Vec<OsString> = Vec::with_capacity(arguments.len() + 8);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match (argument.as_str(), rest.as_slice().first()) {
                ("--crate-type", Some(_)) if self.is_lib => {
                    rest.next();
                    // Cargo looks for the static form, cells link the dynamic one.
                    mapped.extend(
                        ["--crate-type", "lib", "--crate-type", "dylib"].map(OsString::from),
                    );
                }
                ("--extern", Some(library)) => {
                    rest.next();
                    mapped.extend(["--extern".into(), dynamic_form(library)]);
                }
                // All of a C library goes into the dynamic form: no later crate links it again.
                ("-l", Some(library)) if library.starts_with("static=") => {
                    rest.next();
                    let name = &library["static=".len()..];
                    let whole = [
                        "-Clink-arg=-Wl,--whole-archive",
                        "-l",
                        name,
                        "-Clink-arg=-Wl,--no-whole-archive",
                    ];
                    mapped.extend(whole.map(OsString::from));
                }
                ("-C", Some(option))
                    if self.crate_name == CELL_CRATE && option.starts_with("metadata=") =>
                {
                    rest.next();
                    mapped.extend(["-C", CELL_METADATA].map(OsString::from));
                }
                // Every cell is new: what it would keep for the next compilation costs time alone.
                ("-C", Some(option)) if is_incremental(option.as_ref()) => {
                    rest.next();
                }
                (json, _) if json.starts_with("--json=") => mapped.push(without_artifacts(json)),
                _ => mapped.push(argument.into()),
            }
        }
        if self.crate_name == CELL_CRATE {
            mapped.push("-Ccodegen-units=1".into());
        }
        mapped.extend(core_arguments());
        mapped
    }
}

fn is_incremental(option: &str) -> bool {
    option.starts_with("incremental=")
}

/// evcxr asks for the path of the library that a cell becomes. It reads it only after success.
fn announce_cell(invocation: &Invocation<'_>) {
    if invocation.crate_name != CELL_CRATE || !invocation.links {
        return;
    }
    if let (Some(folder), Some(announcement)) = (invocation.out_dir, env::var_os(CELL_LIBRARY_VAR))
    {
        let library = Path::new(folder).join(format!("lib{CELL_CRATE}.so"));
        let _ = fs::write(announcement, library.as_os_str().as_encoded_bytes());
    }
}

/// A cell that has run already becomes an empty library, of which the runner makes nothing.
fn leave_empty(invocation: &Invocation<'_>) -> ExitCode {
    let Some(folder) = invocation.out_dir.map(Path::new) else {
        return ExitCode::FAILURE;
    };
    let library = folder.join(format!("lib{CELL_CRATE}.so"));
    let listing = format!("{}: src/lib.rs\n\nsrc/lib.rs:\n", library.display());
    let written = fs::write(&library, [])
        .and_then(|()| fs::write(folder.join(format!("{CELL_CRATE}.d")), listing));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Tells the kernel which crate is being compiled, for the line that it shows meanwhile.
fn announce_crate(invocation: &Invocation<'_>) {
    let announcement = env::var_os(CELL_LIBRARY_VAR).map(PathBuf::from);
    let (Some(folder), Ok(name), Ok(version)) = (
        announcement.as_deref().and_then(Path::parent),
        env::var("CARGO_PKG_NAME"),
        env::var("CARGO_PKG_VERSION"),
    ) else {
        return;
    };
    if invocation.crate_name != CELL_CRATE {
        busy::announce(folder, &format!("{name} {version}"));
    }
}

/// Without news of finished artifacts, cargo starts a crate when those it needs are whole, not when
/// their metadata is there: the dynamic form comes last.
fn without_artifacts(json: &str) -> OsString {
    let kinds = json["--json=".len()..]
        .split(',')
        .filter(|&kind| kind != "artifacts");
    format!("--json={}", kinds.collect::<Vec<_>>().join(",")).into()
}

/// `name=path` with the dynamic library in the place of the static one, where there is one.
fn dynamic_form(library: &str) -> OsString {
    let dynamic = library
        .split_once('=')
        .map(|(name, path)| (name, PathBuf::from(path).with_extension("so")));
    match dynamic {
        Some((name, path)) if path.exists() => {
            let mut mapped = OsString::from(name);
            mapped.push("=");
            mapped.push(path);
            mapped
        }
        _ => library.into(),
    }
}

/// Crates without `std` take `core` from the dynamic standard library as well, so that it exists
/// once in a process; its metadata is named beside it.
fn core_arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["-Cprefer-dynamic".into()];
    let Ok(dynamic) = env::var(CORE_VAR) else {
        return arguments;
    };
    if let Some(stem) = dynamic.strip_suffix(".so") {
        let metadata = format!("{stem}.rmeta");
        let exists = metadata
            .split_once('=')
            .is_some_and(|(_, path)| Path::new(path).exists());
        if exists {
            arguments.extend(["--extern".into(), metadata.into()]);
        }
    }
    arguments.extend(["--extern".into(), dynamic.into()]);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_fits_the_folder_it_was_copied_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let record = Record {
            rustc: "rustc".to_owned(),
            arguments: vec!["-L".to_owned(), "dependency=/built/here/deps".to_owned()],
            environment: Vec::new(),
            folder: "/built/here".to_owned(),
        };
        let path = folder.path().join(RECORD);
        fs::write(&path, serde_json::to_vec(&record).expect("JSON")).expect("a file");
        let read = Record::read(&path, Path::new("/session")).expect("a record");
        assert_eq!(read.arguments[1], "dependency=/session/deps");
    }

    #[test]
    fn a_crate_in_another_file_is_another_one() {
        let record = |line: &str| Record {
            rustc: "rustc".to_owned(),
            arguments: arguments(line),
            environment: Vec::new(),
            folder: String::new(),
        };
        let known = record("--extern a=/x/liba-1.so --extern b=/x/libb-1.so");
        let more =
            record("--extern b=/x/libb-1.so --extern a=/x/liba-1.so --extern c=/x/libc-1.so");
        assert!(!more.has_others_than(&known));
        assert!(record("--extern a=/x/liba-2.so").has_others_than(&known));
    }

    fn arguments(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn only_a_built_cell_with_the_library_is_rewritten() {
        let cell = "--crate-name ctx --crate-type cdylib src/lib.rs --target t";
        let with = |extra: &str| {
            let arguments = arguments(&format!("{cell} {extra}"));
            Invocation::parse(&arguments).cell_source.is_some()
        };
        assert!(with(
            "--emit=dep-info,link --extern warmcell=/x/libwarmcell.rlib"
        ));
        assert!(
            !with("--emit=dep-info,metadata --extern warmcell=/x/libwarmcell.rmeta"),
            "a check"
        );
        assert!(!with("--emit=dep-info,link"), "without the library");
    }

    #[test]
    fn a_dependency_of_cells_becomes_dynamic_and_a_build_script_does_not() {
        let lib = arguments("--crate-name a --crate-type lib --emit=dep-info,link --target t");
        let mapped = Invocation::parse(&lib).rustc_arguments(&lib);
        assert!(mapped.contains(&"dylib".into()) && mapped.contains(&"-Cprefer-dynamic".into()));
        let host = arguments("--crate-name a --crate-type lib --emit=dep-info,link");
        assert!(
            !Invocation::parse(&host)
                .rustc_arguments(&host)
                .contains(&"dylib".into())
        );
    }
}
