//! Running cells. Most go the direct way, by rustc alone; evcxr's commands, and what only it
//! compiles, go to evcxr. Both ways share the runner, its store of variables, and the record of what
//! cells have defined, which is kept here.

mod by_evcxr;
mod callbacks;
mod compiler_commands;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result};
use jupyter::{CellError, Publisher};
use wire::{FailureKind, cell::VariableValue, mime::Bundle};

use self::by_evcxr::{is_command, without_commands};
use super::{
    analyst::Analyst,
    busy::Busy,
    context::{self, Surroundings},
    control::{Control, Runner},
    direct::{self, Cell, Diagnostic, FUNCTION, Generated, Outcome, Program, Ready, Rustc},
    displays::{Displays, Inbox},
    errors,
    inspection::Times,
    interrupt::{Interrupter, Phase},
    last_words,
    outlet::Outlet,
    output::Pump,
    session::Session,
    sink::{Sink, Stream},
    syntax,
    template::Template,
};
use crate::{
    runner::messages::{CellStatus, RunEnd},
    widgets::Widgets,
};

/// What evcxr's own commands answer, by its kind.
pub type Outputs = HashMap<String, String>;

/// How often a cell is tried whose variables turn out to be of another type than recorded.
const ATTEMPTS: usize = 3;

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
    /// Statics of which the user has been told that each cell begins with its own.
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

/// The direct way.
impl Evaluation {
    fn run_directly(&mut self, cell: &Cell, code: &str, count: u32) -> Result<(), CellError> {
        for _ in 0..ATTEMPTS {
            let Some(ready) = self.compile(cell, code, count)? else {
                self.asynchronous = true;
                return self.run_by_evcxr(code, count).map(drop);
            };
            let this = This { cell, code, count };
            let lost = if let Some(library) = &ready.library {
                self.carry_out(library, &ready, &this)?
            } else {
                self.settle(&ready, &this);
                Vec::new()
            };
            if lost.is_empty() {
                self.analyst.load();
                return Ok(());
            }
            // The library has told the user; without these variables the cell may still run.
            self.program
                .variables
                .retain(|name, _| !lost.contains(name));
        }
        Err(internal(
            "the cell's variables change their types again and again",
        ))
    }

    /// Compiles a cell; `None` when it waits for something, which only evcxr brings a runtime for. A
    /// macro may hide that until then.
    fn compile(
        &mut self,
        cell: &Cell,
        code: &str,
        count: u32,
    ) -> Result<Option<Box<Ready>>, CellError> {
        let started = Instant::now();
        self.interrupter.enter(Phase::Compiles);
        let busy = self.outlet.publisher().map(Busy::compiling);
        let outcome = direct::compile(&mut self.rustc, &self.program, cell, code, count)
            .map_err(|error| internal(&format!("{error:#}")))?;
        drop(busy);
        self.times.compiled(started);
        match outcome {
            // The press came too late for the compiler, and must not be lost.
            _ if self.interrupter.is_interrupted() => Err(internal("interrupted")),
            Outcome::Ready(ready) => {
                for notice in &ready.notices {
                    self.outlet.stream(Stream::Stderr, &format!("{notice}\n"));
                }
                self.tell_of_statics(cell);
                Ok(Some(ready))
            }
            Outcome::Refused { source, errors } => match syntax::fault(code) {
                Some(fault) => Err(errors::from_syntax(code, count, fault)),
                None if errors.iter().any(|error| error.number() == "E0728") => Ok(None),
                None => Err(self.refusal(code, count, &source, &errors)),
            },
            Outcome::Unkept {
                message,
                hint,
                binding,
            } => Err(errors::unkept(code, count, &binding, &message, &hint)),
            Outcome::Ended => Err(internal("the compiler was ended")),
        }
    }

    /// Runs what was compiled. Gives the variables that had another type than recorded, because of
    /// which it did not run.
    fn carry_out(
        &mut self,
        library: &Path,
        ready: &Ready,
        this: &This<'_>,
    ) -> Result<Vec<String>, CellError> {
        let (run, last_errors) = self.run_library(library, ready)?;
        let RunEnd {
            end,
            restored,
            lost_all,
        } = run;
        if !end.lost_variables.is_empty() {
            return Ok(end.lost_variables);
        }
        if lost_all {
            self.forget_all();
        } else if !restored {
            let named = |value: VariableValue| (value.name.clone(), value);
            self.values.extend(end.values.into_iter().map(named));
            match end.status {
                CellStatus::Ok => self.settle(ready, this),
                CellStatus::Panic | CellStatus::Error => {
                    self.settle_failed(ready);
                }
                CellStatus::NotRun | CellStatus::Died => {}
            }
        }
        if end.status == CellStatus::Died {
            // A value at whose end the process dies must not take every later cell along.
            self.program.forgotten.clear();
        }
        // What is on its way in the socket for displays counts as well.
        let failure = end.failure.or_else(|| self.inbox.take_failure());
        match failure.map(|failure| last_words::with_cause(failure, &last_errors)) {
            Some(failure) => Err(errors::from_run(
                this.code,
                this.count,
                &ready.source,
                &failure,
            )),
            None => Ok(Vec::new()),
        }
    }

    /// Runs a library, and shows all that it has printed. Gives the end of what went to standard error, too.
    fn run_library(
        &mut self,
        library: &Path,
        ready: &Ready,
    ) -> Result<(RunEnd, String), CellError> {
        let started = Instant::now();
        self.interrupter.enter(Phase::Runs);
        let run = self.control.run(library, FUNCTION, ready.roll_back);
        self.times.ran(started);
        let printed = self.pump.end_cell();
        if let Some(value) = printed.value.and_then(|value| self.inbox.keep(value)) {
            self.outlet.result(value);
        }
        if !matches!(&run, Ok(end) if !end.restored && !end.lost_all) {
            self.end_texts();
        }
        let run =
            run.map_err(|error| internal(&format!("the cell runner cannot be reached: {error}")))?;
        Ok((run, printed.last_errors))
    }

    /// Tells once of each static whose value does not outlive the cell, as another notebook's would.
    fn tell_of_statics(&mut self, cell: &Cell) {
        for name in &cell.changing_statics {
            if self.told_statics.insert(name.clone()) {
                let line = format!(
                    "the static `{name}` begins anew in each cell; a variable is kept: `let {} = …`\n",
                    name.to_lowercase()
                );
                self.outlet.stream(Stream::Stderr, &line);
            }
        }
    }

    /// What the compiler says, with what the notebook knows of the names that it does not find.
    fn refusal(
        &self,
        code: &str,
        count: u32,
        source: &Generated,
        errors: &[Diagnostic],
    ) -> CellError {
        let mut error = errors::from_rustc(code, count, source, errors);
        let asked = errors.iter().find_map(Diagnostic::missing_value);
        let why = asked.and_then(|name| self.program.results.why_not(name));
        for hint in why.into_iter().chain(self.moved_away(errors)) {
            errors::add_hint(&mut error, &hint);
        }
        error
    }

    /// Why variables that the compiler does not find are not there.
    fn moved_away(&self, errors: &[Diagnostic]) -> BTreeSet<String> {
        let names = errors.iter().filter_map(Diagnostic::missing_variable);
        let told = names.filter_map(|name| {
            let count = self.program.moved.get(name)?;
            Some(format!(
                "`{name}` was moved in cell [{count}]; there, `{name}.clone()` or `&{name}` keeps it"
            ))
        });
        told.collect()
    }

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
    }
}

fn internal(message: &str) -> CellError {
    errors::plain("InternalError", message)
}
