//! `warmcell lab`: JupyterLab from our own environment, on this machine's own address.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use wire::{Failure, FailureKind};

use super::{
    paths,
    setup::{self, kernelspec},
};

/// Options of `lab`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A notebook to open, or a folder to show. By default the folder `notebooks` where there is
    /// one, else the current folder.
    notebook: Option<PathBuf>,
    /// Arguments for JupyterLab, after `--`: `-- --no-browser --port 9999`.
    #[arg(last = true, value_name = "ARGUMENTS")]
    jupyter: Vec<String>,
}

/// Sets up what is missing and becomes JupyterLab; returns only when that fails.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let target = arguments.notebook.clone().unwrap_or_else(default_folder);
    if !target.exists() {
        return Err(Failure::new(
            FailureKind::NotFound,
            format!(
                "cannot open `{}`: there is no such file or folder",
                target.display()
            ),
        )
        .hint("make it in JupyterLab: `warmcell lab` shows the current folder")
        .into());
    }
    let target = target
        .canonicalize()
        .with_context(|| format!("cannot open `{}`", target.display()))?;
    setup::prepare()?;
    let mut command = jupyter_lab(&target)?;
    command.args(&arguments.jupyter);
    // Becoming it keeps Ctrl-C and the exit status what they are for JupyterLab itself.
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run `{}`", command.get_program().to_string_lossy()))
}

fn jupyter_lab(target: &Path) -> Result<Command> {
    let environment = paths::venv(&paths::data_dir()?);
    let folder = if target.is_dir() {
        target
    } else {
        target.parent().context("the notebook has no folder")?
    };
    let mut command = Command::new(environment.join("bin/jupyter-lab"));
    command
        .arg("--ServerApp.ip=127.0.0.1")
        .arg(format!(
            "--MultiKernelManager.default_kernel_name={}",
            kernelspec::NAME
        ))
        .arg(format!("--ServerApp.root_dir={}", folder.display()))
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONHOME");
    if rustix::process::getuid().is_root() {
        // JupyterLab refuses root otherwise; in a container there is no other user.
        command.arg("--allow-root");
    }
    if let Some(name) = target.file_name().filter(|_| !target.is_dir()) {
        // The address that JupyterLab prints then opens the notebook too, not only the browser it
        // starts: a reader on another screen copies the address.
        let name = utf8_percent_encode(&name.to_string_lossy(), NON_ALPHANUMERIC).to_string();
        command.arg(format!("--LabApp.default_url=/lab/tree/{name}"));
    }
    Ok(command)
}

fn default_folder() -> PathBuf {
    let notebooks = PathBuf::from("notebooks");
    if notebooks.is_dir() {
        notebooks
    } else {
        PathBuf::from(".")
    }
}
