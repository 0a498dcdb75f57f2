//! `save_pretrained` of a model: its configuration and its weights, quantised as the model is, in a
//! folder from which it and transformers load it again. All is written to a hidden folder first and
//! moved at the end, so that a save that fails or is interrupted leaves what was there. How quantised
//! weights are written is `bitsandbytes`' matter.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use wire::{
    Failure,
    host::{Event, Progress, Stage},
    model::ModelSpec,
};

use crate::{
    Cancel,
    bitsandbytes::{self, Plan},
    failures::{self, unwritable},
    hub::{Layout, ModelFiles},
    weights::{Loader, Weights},
};

/// Bytes copied between two looks at the cancel flag.
const PIECE: u64 = 32 << 20;
const CONFIG: &str = "config.json";
const GENERATION_CONFIG: &str = "generation_config.json";

/// Writes a model into `folder`, and gives the paths of its files. Weights that are to be quantised, or of another type,
/// are read and quantised again; others are copied.
pub fn save(
    files: &ModelFiles,
    spec: &ModelSpec,
    folder: &Path,
    (cancel, sink): (&Cancel, &mut dyn FnMut(Event)),
) -> Result<Vec<String>, Failure> {
    let weights = Weights::open(&files.layout)?;
    let Layout::Folder(origin) = &files.layout else {
        return Err(failures::unsupported(format!(
            "cannot save `{}`: a GGUF file holds configuration and weights in one",
            files.name
        ))
        .hint("copy the file; `model.info().files` says where it is"));
    };
    check_target(origin, folder)?;
    let plan = Plan::told(Plan::of(spec, &weights)?, spec, &weights);
    let staging = Staging::new(folder)?;
    let mut tell = |event| sink(as_save(event));
    if let Some(plan) = plan.filter(|plan| !plan.stored) {
        let mut loader = Loader::new(&weights, &files.name, cancel, &mut tell);
        bitsandbytes::save(&weights, &plan, &mut loader, &staging.folder)?;
    } else {
        copy_weights(&weights, origin, &staging, (cancel, &files.name, &mut tell))?;
        staging.copy(origin, Path::new(CONFIG))?;
    }
    if origin.join(GENERATION_CONFIG).is_file() {
        staging.copy(origin, Path::new(GENERATION_CONFIG))?;
    }
    cancel.check()?;
    staging.put_in_place(folder)
}

/// Refuses a target that is no folder, or the model's own.
fn check_target(origin: &Path, folder: &Path) -> Result<(), Failure> {
    if folder.exists() && !folder.is_dir() {
        let what = format!("cannot save to `{}`: it is a file", folder.display());
        return Err(failures::invalid(what).hint("name a folder"));
    }
    if matches!((origin.canonicalize(), folder.canonicalize()), (Ok(a), Ok(b)) if a == b) {
        let what = format!(
            "cannot save to `{}`: the model is loaded from there",
            folder.display()
        );
        return Err(failures::invalid(what).hint("name another folder"));
    }
    Ok(())
}

/// The same news with the stage that a user sees.
fn as_save(event: Event) -> Event {
    match event {
        Event::Progress(progress) => Event::Progress(Progress {
            stage: Stage::Save,
            ..progress
        }),
        other => other,
    }
}

/// Copies the files of the weights, and the list of the shards where there are several.
fn copy_weights(
    weights: &Weights,
    origin: &Path,
    staging: &Staging,
    (cancel, subject, sink): (&Cancel, &str, &mut dyn FnMut(Event)),
) -> Result<(), Failure> {
    let mut done = 0;
    for path in weights.files() {
        let name = path.strip_prefix(origin).unwrap_or(path);
        let target = staging.path_of(name)?;
        let mut from = File::open(path).map_err(|error| failures::io(path, &error))?;
        let mut to = File::create(&target).map_err(|error| unwritable(&target, &error))?;
        loop {
            cancel.check()?;
            let copied = std::io::copy(&mut (&mut from).take(PIECE), &mut to)
                .map_err(|error| unwritable(&target, &error))?;
            if copied == 0 {
                break;
            }
            done += copied;
            sink(Event::Progress(Progress {
                stage: Stage::Save,
                subject: subject.to_owned(),
                done,
                total: Some(weights.bytes().max(done)),
            }));
        }
        to.sync_all().map_err(|error| unwritable(&target, &error))?;
    }
    for name in ["model.safetensors", "pytorch_model.bin"] {
        let index = format!("{name}.index.json");
        if !origin.join(name).is_file() && origin.join(&index).is_file() {
            return staging.copy(origin, Path::new(&index));
        }
    }
    Ok(())
}

/// A hidden folder in the target, or beside one that is not there yet. It goes when it is dropped.
struct Staging {
    folder: PathBuf,
    /// It becomes the target itself.
    is_whole: bool,
}

impl Staging {
    /// Within a folder that is there: what it stands in may be another file system, or not be writable.
    fn new(target: &Path) -> Result<Self, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("saving-{}-{number}", std::process::id());
        let is_whole = !target.is_dir();
        let folder = if is_whole {
            let (Some(parent), Some(own)) = (target.parent(), target.file_name()) else {
                let what = format!("cannot save to `{}`: it has no name", target.display());
                return Err(failures::invalid(what).hint("name a folder"));
            };
            fs::create_dir_all(parent).map_err(|error| unwritable(parent, &error))?;
            parent.join(format!(".{}.{name}", own.display()))
        } else {
            target.join(format!(".{name}"))
        };
        fs::create_dir(&folder).map_err(|error| unwritable(target, &error))?;
        Ok(Self { folder, is_whole })
    }

    /// Where a file of this relative name goes.
    fn path_of(&self, name: &Path) -> Result<PathBuf, Failure> {
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| unwritable(parent, &error))?;
        }
        Ok(path)
    }

    fn copy(&self, origin: &Path, name: &Path) -> Result<(), Failure> {
        let (from, to) = (origin.join(name), self.path_of(name)?);
        fs::copy(&from, &to).map_err(|error| unwritable(&to, &error))?;
        Ok(())
    }

    /// Moves all files to the target. One that is there already, or has come meanwhile, loses its configuration
    /// first and gets it last: whoever looks in between finds an incomplete model, never a mixed one.
    fn put_in_place(self, target: &Path) -> Result<Vec<String>, Failure> {
        let wrong = |error: std::io::Error| unwritable(target, &error);
        let mut names = Vec::new();
        collect(&self.folder, Path::new(""), &mut names).map_err(wrong)?;
        names.sort_by_key(|name| name.as_os_str() == CONFIG);
        if !self.is_whole || fs::rename(&self.folder, target).is_err() {
            for stale in weights_in(target).map_err(wrong)? {
                if !names.iter().any(|name| name.as_os_str() == stale.as_str()) {
                    fs::remove_file(target.join(&stale)).map_err(wrong)?;
                }
            }
            remove_if_there(&target.join(CONFIG)).map_err(wrong)?;
            for name in &names {
                let place = target.join(name);
                if let Some(parent) = place.parent() {
                    fs::create_dir_all(parent).map_err(wrong)?;
                }
                fs::rename(self.folder.join(name), place).map_err(wrong)?;
            }
        }
        let path = |name: &PathBuf| target.join(name).display().to_string();
        Ok(names.iter().map(path).collect())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Renamed, it is not there any more.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The relative names of all files below a folder.
fn collect(root: &Path, below: &Path, names: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &name, names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

/// Names of safetensors that an earlier save left: `model.safetensors`, its shards and their index.
/// Beside new ones of another kind they would be read in their place.
fn weights_in(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        let is_shard = name.starts_with("model-") && name.ends_with(".safetensors");
        if is_shard || ["model.safetensors", "model.safetensors.index.json"].contains(&&*name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
