//! `warmcell models`: what is in memory, and freeing it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use display::units::bytes;
use wire::{
    Failure, FailureKind,
    host::UnloadTarget,
    model::{ModelSource, Resident},
};

use super::{
    console::{human_seconds, say},
    hooks,
};

/// Options of `models`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Free the models of this repository or path; `all` frees everything.
    #[arg(long, value_name = "NAME")]
    unload: Option<String>,
}

/// Runs the command. Fails where a model that is to be freed is not in memory.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.unload {
        Some(name) => unload(name),
        None => list(),
    }
}

fn list() -> Result<ExitCode> {
    let models = hooks::host_status()?
        .map(|status| status.models)
        .unwrap_or_default();
    if models.is_empty() {
        say("no model is in memory");
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["MODEL", "KIND", "DEVICE", "MEMORY", "LOADED", "IDLE"].map(str::to_owned)];
    rows.extend(models.iter().map(row));
    let widths: Vec<usize> = (0..6)
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        say(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn row(model: &Resident) -> [String; 6] {
    [
        model.info.name.clone(),
        format!("{} {}", model.info.architecture, model.info.quantization),
        model.info.device.clone(),
        display::model_bytes(&model.info, bytes),
        format!("{} ago", human_seconds(model.age_seconds)),
        human_seconds(model.idle_seconds),
    ]
}

fn unload(name: &str) -> Result<ExitCode> {
    let target = if name == "all" {
        UnloadTarget::All
    } else {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let folder = std::env::current_dir().unwrap_or_default();
        let found = ModelSource::seen_from(&folder, home.as_deref(), name, Path::exists);
        UnloadTarget::Name(found.repo)
    };
    let freed = hooks::unload(target)?;
    if freed.is_empty() && name != "all" {
        let message = format!("nothing to free: `{name}` is not in memory");
        return Err(Failure::new(FailureKind::NotFound, message)
            .hint("`warmcell models` lists what is")
            .into());
    }
    if freed.is_empty() {
        say("nothing to free: no model is in memory");
    }
    for model in freed {
        say(format_args!(
            "freed {} ({})",
            model.info.name,
            bytes(model.info.bytes)
        ));
    }
    Ok(ExitCode::SUCCESS)
}
