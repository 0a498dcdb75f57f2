//! `warmcell install` and `uninstall`: the kernelspec, and nothing else.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use clap::Args;
use wire::{Failure, FailureKind};

use super::{console::say, paths, process, python, setup::kernelspec};

/// Options of `install` and `uninstall`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// For this user; what is done when nothing else is said.
    #[arg(long, conflicts_with_all = ["prefix", "sys_prefix"])]
    user: bool,
    /// Below a prefix, as `PREFIX/share/jupyter/kernels`.
    #[arg(long, value_name = "PREFIX", conflicts_with = "sys_prefix")]
    prefix: Option<PathBuf>,
    /// Below the prefix of the Python on the PATH: the active virtual environment or conda's.
    #[arg(long)]
    sys_prefix: bool,
    /// Name of the kernelspec.
    #[arg(long, default_value = kernelspec::NAME, value_parser = parse_name)]
    name: String,
}

/// Registers the kernel.
pub fn install(arguments: &Arguments) -> Result<ExitCode> {
    let folder = arguments.folder()?;
    let written = kernelspec::write(&folder)?;
    say(format_args!(
        "{} {}",
        if written {
            "installed"
        } else {
            "already installed:"
        },
        folder.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Removes the kernelspec, if it is one of ours.
pub fn uninstall(arguments: &Arguments) -> Result<ExitCode> {
    let folder = arguments.folder()?;
    if !folder.exists() {
        say(format_args!(
            "nothing to remove: {} does not exist",
            folder.display()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let spec = kernelspec::read(&folder);
    let arguments_of_spec = spec.as_ref().and_then(|spec| spec["argv"].as_array());
    // Whatever the program is called now, its kernel is started by these words.
    let ours = arguments_of_spec.is_some_and(|argv| {
        argv.iter()
            .skip(1)
            .eq(["kernel", "-f", "{connection_file}"].iter())
    });
    if !ours {
        return Err(Failure::new(
            FailureKind::InvalidArgument,
            format!(
                "cannot remove `{}`: it is another program's kernel",
                folder.display()
            ),
        )
        .hint("`jupyter kernelspec remove NAME` removes any kernel")
        .into());
    }
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
    say(format_args!("removed {}", folder.display()));
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn folder(&self) -> Result<PathBuf> {
        let data = match &self.prefix {
            Some(prefix) => prefix.join("share/jupyter"),
            None if self.sys_prefix => sys_prefix()?.join("share/jupyter"),
            None => paths::jupyter_data_dir()?,
        };
        Ok(data.join("kernels").join(&self.name))
    }
}

fn sys_prefix() -> Result<PathBuf> {
    let python = python::find()?.program;
    process::output_of(Command::new(&python).args(["-c", "import sys; print(sys.prefix)"]))
        .map(PathBuf::from)
        .with_context(|| format!("cannot ask `{}` for its prefix", python.display()))
}

/// What `jupyter_client` takes for a name: ASCII letters, digits, `-`, `_` and `.`.
fn parse_name(name: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(allowed) || name.starts_with('.') {
        return Err("a kernel's name has letters, digits, `-`, `_` and `.` only".to_owned());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_folder() {
        assert!(parse_name("rust-2.0").is_ok());
        for name in ["", "..", "a/b", "러스트"] {
            assert!(parse_name(name).is_err(), "{name}");
        }
    }
}
