//! `warmcell run`: executes a notebook through a real Jupyter client, and writes it with its outputs
//! beside an HTML page. The client is nbclient in our own environment, driven by a small script.

use std::{
    ffi::OsStr,
    fs,
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

/// Runs the command. Exits with 1 when a cell fails; the notebook is written all the same.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let notebook = &arguments.notebook;
    if !notebook.is_file() {
        return Err(no_file(notebook).into());
    }
    let executed = match &arguments.output {
        Some(path) => path.clone(),
        None => default_output(notebook)?,
    };
    if let Some(folder) = executed.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    }
    setup::prepare()?;
    let status = python::command(&paths::data_dir()?)
        .args(["-c", DRIVER])
        .args([notebook, &executed, &executed.with_extension("html")])
        .arg(arguments.timeout.to_string())
        .status()
        .context("cannot run the environment's Python")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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

fn default_output(notebook: &Path) -> Result<PathBuf> {
    let name = notebook
        .file_stem()
        .and_then(OsStr::to_str)
        .context("the notebook's name is not text")?;
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
