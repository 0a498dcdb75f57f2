//! `warmcell run`: executes a notebook through a real Jupyter client, and writes it with its outputs
//! beside an HTML page. The client is nbclient in our own environment, driven by a small script, which
//! also answers to Ctrl-C.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;
use wire::{Failure, FailureKind};

use super::{paths, python, setup};

const DRIVER: &str = include_str!("../../assets/run_notebook.py");

/// Folder for outputs, beside the notebook; git is told to ignore it.
const OUTPUT_FOLDER: &str = ".warmcell";

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The notebook.
    notebook: PathBuf,
    /// Where to write the executed notebook; the HTML page goes beside it. By default
    /// `.warmcell/NAME.executed.ipynb` beside the notebook.
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Most seconds a cell may take; 0 is no limit.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u32,
}

/// Sets up what is missing and becomes the client; returns only when that fails. The client exits with 1 when a cell
/// fails; the notebook is written all the same.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let notebook = &arguments.notebook;
    if !notebook.is_file() {
        return Err(no_file(notebook).into());
    }
    let own = default_output(notebook)?;
    let executed = arguments.output.clone().unwrap_or(own);
    let page = executed.with_extension("html");
    check_outputs(&executed, &page)?;
    setup::prepare()?;
    let mut command = python::command(&paths::data_dir()?);
    command
        .args(["-c", DRIVER])
        .args([notebook, &executed, &page])
        .arg(arguments.timeout.to_string());
    // As the client itself, no signal to this process alone leaves cells running.
    let error = command.exec();
    Err(error).context("cannot run the environment's Python")
}

/// Refuses, before anything runs, what its results could not be written to.
fn check_outputs(executed: &Path, page: &Path) -> Result<(), Failure> {
    if executed == page {
        let message = format!(
            "cannot write the executed notebook to `{}`: its HTML page goes there",
            executed.display()
        );
        let hint = format!(
            "name the notebook: `--output {}`",
            executed.with_extension("ipynb").display()
        );
        return Err(Failure::new(FailureKind::InvalidArgument, message).hint(hint));
    }
    if let Some(folder) = executed.parent() {
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error.to_string()))?;
    }
    for path in [executed, page] {
        if path.is_dir() {
            return Err(unwritable(path, "it is a folder"));
        }
        let is_there = path.symlink_metadata().is_ok();
        // A pipe would wait for its reader.
        if is_there && !path.is_file() {
            continue;
        }
        let opened = File::options().append(true).create(true).open(path);
        opened.map_err(|error| unwritable(path, &error.to_string()))?;
        if !is_there {
            fs::remove_file(path).map_err(|error| unwritable(path, &error.to_string()))?;
        }
    }
    Ok(())
}

fn unwritable(path: &Path, why: &str) -> Failure {
    let message = format!("cannot write `{}`: {why}", path.display());
    Failure::new(FailureKind::Io, message)
        .hint("name another file by `--output PATH.ipynb`, in a folder that you can write to")
}

fn no_file(notebook: &Path) -> Failure {
    let why = if notebook.is_dir() {
        "it is a folder"
    } else if notebook.exists() {
        "it is no regular file"
    } else {
        "there is no such file"
    };
    let message = format!("cannot run the notebook `{}`: {why}", notebook.display());
    Failure::new(FailureKind::NotFound, message)
        .hint("name a file that ends in .ipynb, such as notebooks/week3.ipynb")
}

/// Fails where the name is no text: neither Jupyter nor a page could have it.
fn default_output(notebook: &Path) -> Result<PathBuf, Failure> {
    let Some(name) = notebook.file_stem().and_then(OsStr::to_str) else {
        let message = format!(
            "cannot run the notebook `{}`: its name is no text of UTF-8",
            notebook.display()
        );
        return Err(Failure::new(FailureKind::InvalidArgument, message)
            .hint("give the file another name, by `mv`: Jupyter knows names of UTF-8 only"));
    };
    Ok(notebook
        .with_file_name(OUTPUT_FOLDER)
        .join(format!("{name}.executed.ipynb")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder was once said not to be there.
    #[test]
    fn what_is_no_file_is_told_apart() {
        let folder = std::env::temp_dir();
        assert!(no_file(&folder).message.ends_with("it is a folder"));
        let none = no_file(&folder.join("none of this name.ipynb"));
        assert!(none.message.ends_with("there is no such file"));
    }

    /// The page was written over the notebook, and a folder was found out when all cells had run.
    #[test]
    fn what_results_cannot_be_written_to_is_refused_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let message = |output: &Path| {
            let failure = check_outputs(output, &output.with_extension("html"));
            failure.expect_err("refused").to_string()
        };
        let page = message(&folder.path().join("out.html"));
        assert!(page.contains("its HTML page goes there"), "{page}");
        assert!(page.contains("out.ipynb`"), "{page}");
        assert!(message(folder.path()).contains("it is a folder"));
        fs::create_dir(folder.path().join("x.html")).expect("a folder");
        let page = message(&folder.path().join("x.ipynb"));
        assert!(page.contains("x.html`: it is a folder"), "{page}");
        fs::write(folder.path().join("file"), "").expect("written");
        let below = message(&folder.path().join("file/x.ipynb"));
        assert!(below.contains("hint: "), "{below}");
    }

    #[test]
    fn a_check_leaves_files_as_they_were() {
        let folder = tempfile::tempdir().expect("a folder");
        let [old, page] = ["old.ipynb", "old.html"].map(|name| folder.path().join(name));
        fs::write(&old, "before").expect("written");
        check_outputs(&old, &page).expect("writable");
        assert_eq!(fs::read(&old).expect("there"), b"before");
        assert!(!page.exists());
    }

    #[test]
    fn a_name_that_is_no_text_is_told_with_what_to_do() {
        let name = std::os::unix::ffi::OsStrExt::from_bytes(b"bad\xff.ipynb");
        let failure = default_output(Path::new::<OsStr>(name)).expect_err("no text");
        assert!(failure.to_string().contains("hint: "), "{failure}");
    }

    #[test]
    fn the_output_never_overwrites_the_notebook() {
        let output = default_output(Path::new("notebooks/week3.ko.ipynb")).expect("a name");
        assert_eq!(
            output,
            Path::new("notebooks/.warmcell/week3.ko.executed.ipynb")
        );
        assert_eq!(
            output.with_extension("html"),
            Path::new("notebooks/.warmcell/week3.ko.executed.html")
        );
    }
}
