//! rustc, called without cargo: with the arguments that cargo last gave it for a cell. One process
//! waits for the next cell with the compiler loaded, since loading it takes as long as linking a
//! cell does.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::SystemTime,
};

use anyhow::{Context as _, Result};

use crate::evaluate::compile::{RECORD, Record};

use super::diagnostic::Diagnostic;

/// Refuses features of the language; and no other compiler that a kernel starts has it.
pub const MARK: &str = "-Zallow-features=";

/// What comes out: a library, and the compiled form as text.
const LIBRARY: &str = "--emit=link,mir";

/// What a run of the compiler gave.
#[derive(Debug)]
pub enum Compiled {
    /// The library, and the compiled form as text, in which the types of variables stand.
    Library { path: PathBuf, mir: String },
    /// Nothing is wrong with the source, which is all that was asked.
    Checked,
    /// What is wrong with the source.
    Refused(Vec<Diagnostic>),
    /// The compiler was ended, as an interrupt does.
    Ended,
}

/// The compiler, as set up for the cells of one session.
#[derive(Debug)]
pub struct Rustc {
    crate_dir: PathBuf,
    record: Option<(SystemTime, Record)>,
    /// Whether cargo has built another form of a crate that cells knew.
    has_other_crates: bool,
    spare: Option<Run>,
    /// Types that cells can write, among those of other crates.
    types: HashSet<String>,
    count: u32,
}

#[derive(Debug)]
struct Run {
    child: Child,
    out_dir: PathBuf,
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A cell that was loaded keeps its library open; this folder belongs to one that was not.
        let _ = fs::remove_dir_all(&self.out_dir);
    }
}

impl Rustc {
    /// For the crate in this folder, in which cargo has compiled a cell already.
    pub fn new(crate_dir: &Path) -> Self {
        Self {
            crate_dir: crate_dir.to_owned(),
            record: None,
            has_other_crates: false,
            spare: None,
            types: HashSet::new(),
            count: 0,
        }
    }

    /// Whether the compiler has taken this type from a cell, with the crates that there are.
    pub fn knows_type(&self, type_name: &str) -> bool {
        self.types.contains(type_name)
    }

    /// Takes note that it has.
    pub fn note_type(&mut self, type_name: &str) {
        self.types.insert(type_name.to_owned());
    }

    /// Starts the compiler for the cell to come.
    pub fn prepare(&mut self) {
        if self.spare.is_none() {
            match self.start(LIBRARY) {
                Ok(run) => self.spare = Some(run),
                // The cell itself will tell.
                Err(error) => tracing::warn!(%error, "no compiler to wait"),
            }
        }
    }

    /// Whether, since this was last asked, a crate that cells knew has become another one of its name: its
    /// types are not what they were.
    pub fn take_other_crates(&mut self) -> bool {
        self.prepare();
        std::mem::take(&mut self.has_other_crates)
    }

    /// Compiles a source to a library that can be loaded; with `check` it only finds out what is wrong
    /// with it, in a third of the time.
    ///
    /// # Errors
    /// The compiler cannot be run.
    pub fn compile(&mut self, source: &str, check: bool) -> Result<Compiled> {
        self.reload()?;
        if check {
            let run = self.start("--emit=metadata")?;
            return Ok(finish(run, source)?.unwrap_or(Compiled::Ended));
        }
        if let Some(spare) = self.spare.take()
            && let Some(compiled) = finish(spare, source)?
        {
            return Ok(compiled);
        }
        // The one that waited had been ended.
        let run = self.start(LIBRARY)?;
        Ok(finish(run, source)?.unwrap_or(Compiled::Ended))
    }

    fn start(&mut self, emit: &str) -> Result<Run> {
        self.reload()?;
        let (_, record) = self
            .record
            .as_ref()
            .context("no cell has been compiled by cargo yet")?;
        self.count += 1;
        let out_dir = self.crate_dir.join("cells").join(self.count.to_string());
        fs::create_dir_all(&out_dir)
            .with_context(|| format!("cannot make `{}`", out_dir.display()))?;
        let child = Command::new(&record.rustc)
            .args(&record.arguments)
            .args([emit, "--error-format=json", "--out-dir"])
            .arg(&out_dir)
            // Types are named by their whole paths. That option exists in the stable compiler for
            // those who ask for it in this way; features of the language do not.
            .args(["-Ztrim-diagnostic-paths=no", MARK])
            // The lines of a panic that a crate raises; it takes the compiler no measurable time.
            .args(["-Cdebuginfo=line-tables-only", "-Cstrip=none", "-"])
            .env("RUSTC_BOOTSTRAP", "1")
            .envs(record.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.crate_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run `{}`", record.rustc))?;
        Ok(Run { child, out_dir })
    }

    /// Reads the record again when cargo has written a new one, as a new dependency makes it do.
    fn reload(&mut self) -> Result<()> {
        let path = self.crate_dir.join(RECORD);
        let written = fs::metadata(&path)
            .and_then(|metadata| metadata.modified())
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        if self
            .record
            .as_ref()
            .is_some_and(|(known, _)| *known == written)
        {
            return Ok(());
        }
        let record = Record::read(&path, &self.crate_dir)?;
        let known = self.record.as_ref().map(|(_, known)| known);
        self.has_other_crates |= known.is_some_and(|known| record.has_others_than(known));
        self.record = Some((written, record));
        self.spare = None;
        self.types.clear();
        Ok(())
    }
}

/// Gives a waiting compiler its source; `None` when it did not wait any more.
fn finish(mut run: Run, source: &str) -> Result<Option<Compiled>> {
    let mut stdin = run.child.stdin.take().context("a compiler has no input")?;
    match stdin.write_all(source.as_bytes()) {
        Ok(()) => drop(stdin),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
        Err(error) => return Err(error).context("cannot hand a cell to the compiler"),
    }
    let mut messages = String::new();
    if let Some(mut stderr) = run.child.stderr.take() {
        stderr
            .read_to_string(&mut messages)
            .context("cannot read the compiler's messages")?;
    }
    let status = run.child.wait().context("the compiler is lost")?;
    result(&mut run, status, &messages).map(Some)
}

fn result(run: &mut Run, status: ExitStatus, messages: &str) -> Result<Compiled> {
    if status.code().is_none() {
        return Ok(Compiled::Ended);
    }
    if !status.success() {
        let diagnostics: Vec<Diagnostic> = messages
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(Diagnostic::is_error)
            .collect();
        anyhow::ensure!(
            !diagnostics.is_empty(),
            "the compiler failed without a message of its own: {messages}"
        );
        return Ok(Compiled::Refused(diagnostics));
    }
    let mir_file = run.out_dir.join("ctx.mir");
    if !mir_file.exists() {
        return Ok(Compiled::Checked);
    }
    let out_dir = std::mem::take(&mut run.out_dir);
    let mir = fs::read_to_string(&mir_file)
        .with_context(|| format!("cannot read `{}`", mir_file.display()))?;
    let _ = fs::remove_file(&mir_file);
    Ok(Compiled::Library {
        path: out_dir.join("libctx.so"),
        mir,
    })
}

/// The types of the new variables, by their number, as the compiled form has them. It is read once: it grows
/// with the square of the number of variables, since each has a block within the one before.
pub fn variable_types(mir: &str, count: usize) -> Vec<Option<String>> {
    let mut types = vec![None; count];
    for (start, call) in mir.match_indices(PUT_NEW) {
        let Some((number, rest)) = mir[start + call.len()..].split_once(", ") else {
            continue;
        };
        let number: Option<usize> = number.parse().ok();
        let Some(found) = number.and_then(|number| types.get_mut(number)) else {
            continue;
        };
        if found.is_none() {
            *found = type_at(rest).map(str::to_owned);
        }
    }
    types
}

/// What a new variable is put by, its number and its type behind it.
const PUT_NEW: &str = "VariableStore::put_new::<";

/// The type at the start of a text that goes on behind it with `>(`.
fn type_at(text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (index, character) in text.char_indices() {
        match character {
            '<' | '(' | '[' | '{' => depth += 1,
            // `->` closes nothing.
            '>' if before == '-' => {}
            '>' if depth == 0 => return Some(&text[..index]),
            '>' | ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        before = character;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_off_the_compiled_form() {
        let mir = "_1 = warmcell::cell::variables::VariableStore::put_new::<1, std::boxed::Box<dyn std::ops::Fn(&str) -> std::option::Option<u8>>>(copy _2, move _3)\n_4 = warmcell::cell::variables::VariableStore::put_new::<0, [u8; 3]>(copy _5, move _6)";
        assert_eq!(
            variable_types(mir, 3),
            [
                Some("[u8; 3]".to_owned()),
                Some(
                    "std::boxed::Box<dyn std::ops::Fn(&str) -> std::option::Option<u8>>".to_owned()
                ),
                None
            ]
        );
    }

    /// A cell of 2,000 `let` took 26 s, 20 of them in looking for each type from the start of 100 MB.
    #[test]
    fn the_compiled_form_of_many_variables_is_read_once() {
        let one = |number: usize| {
            let indent = " ".repeat(40_000);
            format!("{indent}VariableStore::put_new::<{number}, i32>(move _1)\n")
        };
        let mir: String = (0..2000).map(one).collect();
        let started = std::time::Instant::now();
        let types = variable_types(&mir, 2000);
        assert!(types.iter().all(|of| of.as_deref() == Some("i32")));
        assert!(started.elapsed() < std::time::Duration::from_secs(3));
    }
}
