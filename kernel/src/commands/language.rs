//! A cell with commands: they run in order, then the rest of the cell runs as Rust.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use jupyter::{Cell, CellError, Language, Outcome, Publisher, Stream};
use wire::{mime::Bundle, model::ModelSource};

use super::{
    Assistant, Call, Form, Notebook, Place, Step, bash,
    chat::Chats,
    elsewhere,
    env::Environment,
    error, help,
    in_memory::Named,
    limit::Limit,
    models_panel::ModelsPanel,
    opening::Opening,
    parse,
    script::{self, Written},
    vars::Panel,
};
use crate::{evaluate::interrupt::Interrupter, widgets::Widgets};

/// The language of the cells: commands, and Rust.
pub struct Commands {
    pub(super) notebook: Opening,
    pub(super) place: Arc<Place>,
    pub(super) interrupter: Arc<Interrupter>,
    pub(super) environment: Arc<Environment>,
    pub(super) limit: Limit,
    pub(super) chats: Chats,
    pub(super) named: Named,
    pub(super) panel: Panel,
    pub(super) models: Option<Arc<ModelsPanel>>,
    pub(super) widgets: Arc<Widgets>,
    pub(super) assistant: Arc<Assistant>,
}

impl Commands {
    /// Commands around the notebook that `open` brings up, on a thread of its own.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(
        assistant: Arc<Assistant>,
        interrupter: Arc<Interrupter>,
        widgets: Arc<Widgets>,
        open: impl FnOnce() -> Result<Box<dyn Notebook>, CellError> + Send + 'static,
    ) -> std::io::Result<Self> {
        Ok(Self {
            notebook: Opening::start(open)?,
            place: Arc::clone(&assistant.place),
            interrupter,
            environment: Arc::clone(&assistant.environment),
            limit: Limit::default(),
            chats: Chats::default(),
            named: Named::default(),
            panel: Panel::new(&widgets),
            models: None,
            widgets,
            assistant,
        })
    }

    /// Whether the notebook has defined this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.assistant.knows(name)
    }

    /// Where the name of a model or tokenizer leads: as in a cell, whose folder it may start from.
    pub(super) fn located(&mut self, source: ModelSource) -> ModelSource {
        let cells = self.notebook.ready().and_then(Notebook::folder);
        let folder = cells.unwrap_or_else(|| self.place.working_dir.clone());
        let home = self.environment.all().remove("HOME").map(PathBuf::from);
        let found = ModelSource::seen_from(&folder, home.as_deref(), &source.repo, Path::exists);
        ModelSource {
            repo: found.repo,
            ..source
        }
    }

    /// Runs code that may begin with commands.
    pub(super) fn run(
        &mut self,
        code: &str,
        cell: &Cell,
        out: &Publisher,
    ) -> Result<(), CellError> {
        let assistant = Arc::clone(&self.assistant);
        let script = parse(code, &|name| assistant.knows(name));
        for step in &script.steps {
            self.interrupter.start_command();
            let result = self.step(step, cell, out);
            let interrupted = self.interrupter.end_cell();
            result?;
            if interrupted {
                // It ended by itself meanwhile; what stands below it was to be stopped as well.
                return Err(error::interrupted("the cell"));
            }
        }
        match script.rust {
            Some(rust) => self.rust(rust, cell, out),
            None => Ok(()),
        }
    }

    /// Runs Rust, and tells a command that stands below it from an operator.
    pub(super) fn rust(
        &mut self,
        code: String,
        cell: &Cell,
        out: &Publisher,
    ) -> Result<(), CellError> {
        let is_command = |name: &str| super::find(name).is_some();
        let misplaced = script::misplaced(&code, &is_command, &|name| self.knows(name));
        let misplaced = misplaced.map(|(number, line)| (number, line.to_owned()));
        let cell = Cell {
            code,
            ..cell.clone()
        };
        let assistant = Arc::clone(&self.assistant);
        let notebook = self.ready_for_rust()?;
        let outcome = notebook.execute(&cell, out);
        assistant.update(notebook);
        match (outcome, misplaced) {
            (Outcome::Error(_), Some((number, line))) => Err(error::failed(
                "UsageError",
                format!("line {number}, `{line}`: a command stands before a cell's Rust code"),
                "move it to the top of the cell, or to a cell of its own",
            )),
            (Outcome::Error(error), None) => Err(error),
            (Outcome::Ok, _) => Ok(()),
        }
    }

    /// Forgets what cells have defined. What still comes up has nothing to forget.
    pub(super) fn forget_all(&mut self) -> Result<(), CellError> {
        let assistant = Arc::clone(&self.assistant);
        if let Some(notebook) = self.notebook.ready() {
            notebook.reset()?;
            assistant.update(notebook);
            // The cells' process is another one now.
            self.limit.forget_applied();
        }
        Ok(())
    }

    /// The notebook, once it is up and set as the commands before have asked.
    fn ready_for_rust(&mut self) -> Result<&mut dyn Notebook, CellError> {
        let Self {
            notebook,
            interrupter,
            environment,
            limit,
            place,
            ..
        } = self;
        let ready = notebook.ready().is_some();
        if !ready {
            interrupter.start_command();
            let waited = notebook.wait(&|| interrupter.is_interrupted()).map(drop);
            interrupter.end_cell();
            waited?;
        }
        let notebook = notebook.wait(&|| false)?;
        environment.save(&place.session_dir)?;
        limit.apply(&place.session_dir)?;
        Ok(notebook)
    }

    fn step(&mut self, step: &Step<'_>, cell: &Cell, out: &Publisher) -> Result<(), CellError> {
        match step {
            Step::Line(written) => self.command(*written, None, cell, out),
            Step::Cell { written, body } => self.command(*written, Some(body), cell, out),
            Step::Shell(command) => bash::shell(self, command, out),
            Step::Help(name) => help::explain(self, name, out),
        }
    }

    fn command(
        &mut self,
        written: Written<'_>,
        body: Option<&str>,
        cell: &Cell,
        out: &Publisher,
    ) -> Result<(), CellError> {
        let Some(asked) = super::find(written.name) else {
            return Err(unknown(written.name));
        };
        match (asked.form, body) {
            (Form::Line, Some(_)) => {
                return Err(error::usage(asked, "it has no form with `%%`"));
            }
            (Form::Cell, None) => {
                let complaint = "it takes the rest of the cell, and begins with `%%`";
                return Err(error::usage(asked, complaint));
            }
            _ => {}
        }
        let this = Call {
            command: asked,
            arguments: written.arguments,
            start: written.start,
            body,
            cell,
            out,
        };
        (asked.run)(self, &this)
    }
}

fn unknown(name: &str) -> CellError {
    let hint = match (elsewhere::hint(name), super::nearest(name)) {
        (Some(hint), _) => hint,
        (None, Some(nearest)) => format!(
            "did you mean `%{}`? `%help` lists all commands",
            nearest.name
        ),
        (None, None) => "`%help` lists all commands".to_owned(),
    };
    error::failed(
        "UnknownCommand",
        format!("there is no command `%{name}`"),
        hint,
    )
}

impl Language for Commands {
    fn execute(&mut self, cell: &Cell, out: &Publisher) -> Outcome {
        let result = self.run(&cell.code, cell, out);
        // What a silent cell shows is dropped; the next one tells of its variables.
        if !cell.silent {
            self.panel.update(&self.assistant, out);
        }
        // Here, and not where a widget was answered: the user's hand may be on it still.
        self.widgets.renew_words();
        match result {
            Ok(()) => Outcome::Ok,
            Err(error) => Outcome::Error(error),
        }
    }

    fn attend(&mut self, out: &Publisher) {
        if let Some(notebook) = self.notebook.ready() {
            notebook.attend(out);
            self.assistant.update(notebook);
            self.panel.update(&self.assistant, out);
        }
    }

    fn evaluate(&mut self, expression: &str) -> Result<Bundle, CellError> {
        self.ready_for_rust()?.evaluate(expression)
    }
}

/// Prints a line of a command.
pub(super) fn say(out: &Publisher, line: &str) {
    out.stream(Stream::Stdout, &format!("{line}\n"));
}
