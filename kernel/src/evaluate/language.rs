//! Rust as the kernel's language: cells by evcxr, in the runner; their output by the pump and the
//! display socket.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use evcxr::{CommandContext, EvalOutputs};
use jupyter::{Cell, CellError, Completion, Completions, Language, Outcome, Publisher};
use wire::{FailureKind, cell::CellFailure, mime::Bundle};

use super::{
    content::Piece,
    context::{self, Surroundings},
    control::Runner,
    displays::{Displays, Inbox},
    errors,
    interrupt::Interrupter,
    output::Pump,
    session::Session,
    sink::{Sink, Stream},
    template::Template,
};

/// Evaluates cells of Rust.
pub struct Rust {
    context: CommandContext,
    parts: Parts,
    /// The library's folder.
    library: PathBuf,
}

/// What an evaluation needs beside evcxr.
struct Parts {
    pump: Arc<Pump>,
    inbox: Arc<Inbox>,
    outlet: Arc<Outlet>,
    interrupter: Arc<Interrupter>,
    // Before the session, whose folder it listens in.
    _runner: Runner,
    _session: Session,
}

impl Rust {
    /// Brings evcxr up. Takes seconds.
    ///
    /// # Errors
    /// The toolchain, the library for cells, or the session's pipes cannot be used.
    pub fn open(
        session: Session,
        data: &Path,
        host_socket: PathBuf,
        interrupter: Arc<Interrupter>,
    ) -> Result<Self> {
        let outlet = Arc::new(Outlet::default());
        let sink: Arc<dyn Sink> = Arc::clone(&outlet) as Arc<dyn Sink>;
        let pump = Arc::new(Pump::start(session.runtime_dir(), Arc::clone(&sink))?);
        let inbox = Arc::new(Inbox::default());
        Displays::start(
            &session.cell_socket(),
            Arc::clone(&pump),
            sink,
            Arc::clone(&inbox),
        )?;
        let working_dir = std::env::current_dir().context("the current folder is gone")?;
        let surroundings = Surroundings {
            working_dir,
            session: &session,
            host_socket,
            data_dir: data,
        };
        let template = Template::locate(data)?;
        template.build(|folder| context::compile_template(&template, folder, &surroundings))?;
        template.copy_to(session.crate_dir())?;
        let runner = context::start_runner(session.crate_dir(), &surroundings)?;
        let context = context::open(session.crate_dir(), &template.library(), &surroundings)?;
        interrupter.set_runner(session.runtime_dir());
        // What the first compilations printed belongs to no cell.
        pump.end_cell();
        Ok(Self {
            context,
            library: template.library(),
            parts: Parts {
                pump,
                inbox,
                outlet,
                interrupter,
                _runner: runner,
                _session: session,
            },
        })
    }

    /// Runs code and gives its own outputs (those of commands), or the error it ended in.
    fn run(&mut self, code: &str, count: u32) -> Result<EvalOutputs, CellError> {
        let Self {
            context,
            parts,
            library,
        } = self;
        let code = &set_optimisation(context, library, code)?;
        parts.interrupter.start_cell();
        // A fault of evcxr must not end the kernel with all that the user has.
        let result = catch_unwind(AssertUnwindSafe(|| context.execute(code)));
        let printed = parts.pump.end_cell();
        if let Some(value) = printed.and_then(|value| parts.inbox.keep(value)) {
            parts.outlet.result(value);
        }
        let interrupted = parts.interrupter.end_cell();
        let failure = parts.inbox.take_failure();
        if interrupted && (failure.is_some() || !matches!(result, Ok(Ok(_)))) {
            return Err(errors::plain(
                FailureKind::Interrupted.name(),
                "the cell was interrupted",
            ));
        }
        if let Some(failure) = failure {
            let generated = context.last_source().unwrap_or_default();
            return Err(errors::from_failure(code, count, &generated, &failure));
        }
        match result {
            Ok(Ok(outputs)) => {
                // evcxr's `:clear` takes the library away along with the user's own.
                if code.lines().any(|line| line.trim() == ":clear") {
                    context
                        .execute(context::PRELUDE)
                        .map_err(|error| errors::plain("EvaluationError", &error.to_string()))?;
                }
                Ok(outputs)
            }
            Ok(Err(evcxr::Error::CompilationErrors(list))) => {
                Err(errors::from_compiler(code, count, &list))
            }
            Ok(Err(error)) => Err(errors::plain("EvaluationError", &error.to_string())),
            Err(_) => Err(errors::plain(
                "InternalError",
                "the evaluation itself failed; variables may be inconsistent",
            )),
        }
    }
}

/// Carries out `:opt` and leaves the rest of the cell: evcxr's own would put the bare number where
/// [`context::optimisation`] has more.
fn set_optimisation(
    context: &mut CommandContext,
    library: &Path,
    code: &str,
) -> Result<String, CellError> {
    let mut rest = String::with_capacity(code.len());
    for line in code.split_inclusive('\n') {
        let mut words = line.split_whitespace();
        if words.next() != Some(":opt") {
            rest.push_str(line);
            continue;
        }
        let level = words.next().unwrap_or("2");
        if !matches!(level, "0" | "1" | "2" | "3") {
            return Err(errors::plain(
                "InvalidArgument",
                &format!("`:opt {level}`: a level is 0, 1, 2 or 3"),
            ));
        }
        context
            .set_opt_level(&context::optimisation(level, library))
            .map_err(|error| errors::plain("EvaluationError", &error.to_string()))?;
        // The lines behind keep their numbers.
        rest.push('\n');
    }
    Ok(rest)
}

/// Why no cell can run.
pub fn unusable(reason: &anyhow::Error) -> CellError {
    let failure = CellFailure {
        ename: "KernelError".to_owned(),
        evalue: format!("no cell can run: {reason:#}"),
        location: None,
        hint: Some("`warmcell doctor` in a terminal says what is missing".to_owned()),
    };
    errors::from_failure("", 0, "", &failure)
}

/// Asking what a `String` can do makes the analyser read the standard library and ours, which the
/// first `let` would otherwise wait seconds for.
const WARM_UP: &str = "let text = String::new(); text.";

impl Language for Rust {
    fn warm_up(&mut self) {
        self.complete(WARM_UP, WARM_UP.len());
    }

    fn execute(&mut self, cell: &Cell, out: &Publisher) -> Outcome {
        self.parts.outlet.attach(out.clone());
        self.parts.inbox.start_cell();
        match self.run(&cell.code, cell.count) {
            Ok(outputs) => {
                if let Some(bundle) = bundle(outputs) {
                    out.result(bundle);
                }
                Outcome::Ok
            }
            Err(error) => Outcome::Error(error),
        }
    }

    fn evaluate(&mut self, expression: &str) -> Result<Bundle, CellError> {
        self.parts.inbox.start_cell();
        self.parts.inbox.capture_value();
        self.run(expression, 0)?;
        Ok(self.parts.inbox.captured_value().unwrap_or_default())
    }

    fn complete(&mut self, code: &str, cursor: usize) -> Completions {
        let nothing = Completions {
            start: cursor,
            end: cursor,
            ..Completions::default()
        };
        match catch_unwind(AssertUnwindSafe(|| self.context.completions(code, cursor))) {
            Ok(Ok(found)) => Completions {
                start: found.start_offset,
                end: found.end_offset,
                matches: found
                    .completions
                    .into_iter()
                    .map(|item| Completion {
                        text: item.code,
                        kind: Some(item.kind.to_owned()),
                        signature: Some(item.label),
                    })
                    .collect(),
            },
            _ => nothing,
        }
    }

    fn inspect(&mut self, code: &str, cursor: usize, _detail: u8) -> Option<Bundle> {
        let rest = &code[cursor..];
        let end = cursor
            + rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
        let (text, html) = catch_unwind(AssertUnwindSafe(|| self.context.hover_at(code, end)))
            .ok()?
            .ok()?;
        let known = !text.starts_with("No documentation found");
        known.then(|| Bundle::text(text).with("text/html", html))
    }
}

/// What a command such as `:vars` answers.
fn bundle(outputs: EvalOutputs) -> Option<Bundle> {
    let mut bundle = Bundle::default();
    for (mime, content) in outputs.content_by_mime_type {
        Piece::gather(&mut bundle, &mime, content);
    }
    (!bundle.data.is_empty()).then_some(bundle)
}

/// Where cells' outputs go: the front end of the last cell, and nowhere before the first.
#[derive(Default)]
struct Outlet {
    publisher: Mutex<Option<Publisher>>,
}

impl Outlet {
    fn attach(&self, publisher: Publisher) {
        *self
            .publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(publisher);
    }

    /// The publisher itself is called without the lock: asking for input takes as long as a user.
    fn publisher(&self) -> Option<Publisher> {
        self.publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Sink for Outlet {
    fn stream(&self, stream: Stream, text: &str) {
        let stream = match stream {
            Stream::Stdout => jupyter::Stream::Stdout,
            Stream::Stderr => jupyter::Stream::Stderr,
        };
        if let Some(out) = self.publisher() {
            out.stream(stream, text);
        }
    }

    fn display(&self, bundle: Bundle, display_id: Option<&str>) {
        if let Some(out) = self.publisher() {
            out.display(bundle, display_id);
        }
    }

    fn update_display(&self, bundle: Bundle, display_id: &str) {
        if let Some(out) = self.publisher() {
            out.update_display(bundle, display_id);
        }
    }

    fn result(&self, bundle: Bundle) {
        if let Some(out) = self.publisher() {
            out.result(bundle);
        }
    }

    fn clear_output(&self, wait: bool) {
        if let Some(out) = self.publisher() {
            out.clear_output(wait);
        }
    }

    fn input(&self, prompt: &str, password: bool) -> Result<String, String> {
        let out = self.publisher().ok_or("no cell runs")?;
        out.input(prompt, password)
            .map_err(|error| error.to_string())
    }
}
