//! Running cells. Most go the direct way, by rustc alone; evcxr's commands, and what only it
//! compiles, go to evcxr. Both ways share the runner, its store of variables, and the record of what
//! cells have defined, which is kept here.

mod by_evcxr;
mod callbacks;
mod compiler_commands;
mod directly;
mod left;

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use jupyter::{CellError, Publisher};
use wire::{FailureKind, cell::VariableValue, mime::Bundle};

use self::{
    by_evcxr::{is_command, without_commands},
    left::Loaded,
};
use super::{
    analyst::Analyst,
    context::{self, Surroundings},
    control::{Control, Runner},
    direct::{self, Cell, Program, Ready, Rustc},
    displays::{Displays, Inbox},
    errors,
    inspection::Times,
    interrupt::Interrupter,
    outlet::Outlet,
    output::Pump,
    session::Session,
    sink::{Sink, Stream},
    template::Template,
};
use crate::widgets::Widgets;

/// What evcxr's own commands answer, by its kind.
pub type Outputs = HashMap<String, String>;

/// Everything that cells are run with.
pub struct Evaluation {
    program: Program,
    /// What is in the variables, in short, as far as it is known.
    values: HashMap<String, VariableValue>,
    rustc: Rustc,
    control: Control,
    analyst: Arc<Analyst>,
    /// Whether evcxr runs cells in an asynchronous runtime, which the direct way has not.
    asynchronous: bool,
    library: PathBuf,
    pump: Arc<Pump>,
    inbox: Arc<Inbox>,
    outlet: Arc<Outlet>,
    interrupter: Arc<Interrupter>,
    widgets: Arc<Widgets>,
    /// The cell that runs what waits for widgets' events, once it is compiled.
    callbacks: Option<Box<Ready>>,
    /// The cells that were loaded, by their libraries.
    loaded: HashMap<PathBuf, Loaded>,
    /// Statics of threads of which the user has been told that each cell begins with its own.
    told_statics: HashSet<String>,
    /// How long the last cell took.
    pub(super) times: Times,
    crate_dir: PathBuf,
    // Before the session, whose folder it listens in.
    _runner: Runner,
    _session: Session,
}

impl Evaluation {
    /// Starts the runner, and evcxr beside.
    ///
    /// # Errors
    /// The toolchain, the library for cells, or the session's pipes cannot be used.
    pub fn open(
        session: Session,
        data: &Path,
        host_socket: PathBuf,
        interrupter: Arc<Interrupter>,
        widgets: Arc<Widgets>,
    ) -> Result<Self> {
        let outlet = Arc::new(Outlet::new(Arc::clone(&widgets)));
        let sink: Arc<dyn Sink> = Arc::clone(&outlet) as Arc<dyn Sink>;
        let pump = Arc::new(Pump::start(session.runtime_dir(), Arc::clone(&sink))?);
        let inbox = Arc::new(Inbox::default());
        Displays::start(
            &session.cell_socket(),
            Arc::clone(&pump),
            sink,
            Arc::clone(&inbox),
            Arc::clone(&widgets),
        )?;
        let surroundings = Surroundings::of(&session, host_socket, data)?;
        let template = Template::locate(data)?;
        template.build(|folder| context::compile_template(&template, folder, &surroundings))?;
        template.copy_to(session.crate_dir())?;
        let runner = context::start_runner(session.crate_dir(), &surroundings)?;
        interrupter.set_runner(session.runtime_dir());
        let mut rustc = Rustc::new(session.crate_dir());
        rustc.prepare();
        let (crate_dir, library) = (session.crate_dir().to_owned(), template.library());
        let analyst = Analyst::start({
            let library = library.clone();
            move || context::open_beside(&crate_dir, &library, &surroundings)
        })?;
        let control =
            Control::connect(session.runtime_dir()).context("the cell runner cannot be reached")?;
        // What the template's compilation printed belongs to no cell.
        pump.end_cell();
        Ok(Self {
            program: Program::default(),
            values: HashMap::new(),
            rustc,
            control,
            analyst: Arc::new(analyst),
            asynchronous: false,
            library,
            pump,
            inbox,
            outlet,
            interrupter,
            widgets,
            callbacks: None,
            loaded: HashMap::new(),
            told_statics: HashSet::new(),
            times: Times::default(),
            crate_dir: session.crate_dir().to_owned(),
            _runner: runner,
            _session: session,
        })
    }

    /// evcxr, for what is no cell.
    pub fn analyst(&self) -> &Arc<Analyst> {
        &self.analyst
    }

    /// The variables that cells have left, with their types, and what is in them where it is known.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str, Option<&VariableValue>)> {
        self.program
            .variables
            .iter()
            .filter(|(name, _)| !direct::is_result(name))
            .map(|(name, variable)| (name.as_str(), &*variable.type_name, self.values.get(name)))
    }

    /// The folder in which the cells are; `None` when their process does not say.
    pub fn folder(&mut self) -> Option<PathBuf> {
        self.control.folder().ok().flatten()
    }

    /// Names of what cells have defined.
    pub fn items(&self) -> impl Iterator<Item = &str> {
        self.program.items.names()
    }

    /// What evcxr's `:vars` would show, had it to do with the variables.
    fn list_of_variables(&self) -> Outputs {
        let lines: Vec<String> = self
            .variables()
            .map(|(name, type_name, _)| format!("{name}: {type_name}"))
            .collect();
        HashMap::from([("text/plain".to_owned(), lines.join("\n"))])
    }

    /// Sends what comes to the front end of the next cell.
    pub fn attach(&self, out: &Publisher) {
        self.outlet.attach(out.clone());
    }

    /// Runs a cell, and gives what commands in it answered.
    ///
    /// # Errors
    /// The cell does not compile, or fails; or it was interrupted.
    pub fn run(&mut self, code: &str, count: u32) -> Result<Outputs, CellError> {
        self.inbox.start_cell();
        self.widgets.release_output();
        self.times.start();
        self.interrupter.start_cell();
        let result = self.choose(code, count);
        let interrupted = self.interrupter.end_cell();
        self.rustc.prepare();
        // A cell that ended by itself meanwhile was to be stopped as well, and so is the queue behind it.
        if interrupted {
            return Err(errors::plain(
                FailureKind::Interrupted.name(),
                "the cell was interrupted",
            ));
        }
        result
    }

    /// The value of an expression, shown nowhere.
    ///
    /// # Errors
    /// As of [`Self::run`].
    pub fn value_of(&mut self, expression: &str) -> Result<Bundle, CellError> {
        self.inbox.capture_value();
        let cell = Cell::parse(expression);
        self.interrupter.start_cell();
        let result = self.run_directly(&cell, expression, 0);
        self.interrupter.end_cell();
        result?;
        Ok(self.inbox.captured_value().unwrap_or_default())
    }

    fn choose(&mut self, code: &str, count: u32) -> Result<Outputs, CellError> {
        if code.trim() == ":vars" {
            return Ok(self.list_of_variables());
        }
        compiler_commands::check(code)?;
        let has_commands = code.lines().any(is_command);
        let cell = if has_commands {
            Cell::parse(&without_commands(code))
        } else {
            Cell::parse(code)
        };
        self.asynchronous |= cell.obstacle == Some(direct::Obstacle::Await);
        let has_tasks = self.asynchronous && direct::speaks_of_tasks(code);
        if has_commands || cell.obstacle.is_some() || has_tasks {
            let outputs = self.run_by_evcxr(code, count)?;
            return Ok(compiler_commands::answered(code, outputs));
        }
        if cell.is_empty() {
            return Ok(Outputs::new());
        }
        self.run_directly(&cell, code, count)?;
        Ok(Outputs::new())
    }
}

/// The cell that is run.
struct This<'a> {
    cell: &'a Cell,
    code: &'a str,
    count: u32,
}

/// What cells leave behind.
impl Evaluation {
    /// What the process of a cell was writing has ended with it.
    fn end_texts(&self) {
        for (bundle, display_id) in self.widgets.end_texts() {
            self.outlet.update_display(bundle, &display_id);
        }
    }

    fn settle(&mut self, ready: &Ready, this: &This<'_>) {
        let mut after = ready.after.clone();
        if ready.library.is_some() {
            after.forgotten.clear();
        }
        after.settle(this.count, this.code);
        self.analyst.tell(this.cell, &self.program, &after);
        self.program = after;
    }

    /// A cell that failed has defined nothing. What it had taken over is gone, where there was no
    /// snapshot to roll it back to.
    fn settle_failed(&mut self, ready: &Ready) {
        let mut after = self.program.clone();
        after.forgotten.clear();
        after
            .variables
            .retain(|name, _| !ready.consumed.contains(name));
        if !ready.consumed.is_empty() {
            let names: Vec<String> = ready
                .consumed
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let line = format!(
                "the cell had taken over {} before it failed: gone\n",
                names.join(", ")
            );
            self.outlet.stream(Stream::Stderr, &line);
        }
        self.analyst.tell(&Cell::default(), &self.program, &after);
        self.program = after;
    }

    fn forget_all(&mut self) {
        let after = Program {
            variables: std::collections::BTreeMap::new(),
            forgotten: Vec::new(),
            ..self.program.clone()
        };
        self.analyst.tell(&Cell::default(), &self.program, &after);
        self.program = after;
        self.values.clear();
        self.loaded.clear();
    }
}

fn internal(message: &str) -> CellError {
    errors::plain("InternalError", message)
}
