//! Cells that go the direct way: compiled by rustc alone, run by the runner, and taken into the record of what
//! there is. What comes of a cell that evcxr has to run is for `by_evcxr`.

use std::{collections::BTreeSet, path::Path, time::Instant};

use jupyter::CellError;
use wire::cell::VariableValue;

use super::super::{
    busy::Busy,
    direct::{self, Cell, Diagnostic, FUNCTION, Generated, Outcome, Ready},
    errors,
    interrupt::Phase,
    last_words,
    sink::{Sink, Stream},
    syntax,
};
use super::{Evaluation, This, internal};
use crate::runner::messages::{CellStatus, RunEnd};

/// How often a cell is tried whose variables turn out to be of another type than recorded.
const ATTEMPTS: usize = 3;

impl Evaluation {
    pub(super) fn run_directly(
        &mut self,
        cell: &Cell,
        code: &str,
        count: u32,
    ) -> Result<(), CellError> {
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
    pub(super) fn compile(
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
        self.note_loaded(library, ready, this);
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
            Some(failure) => Err(self.failure(ready, this, end.raised_in.as_deref(), &failure)),
            None => Ok(Vec::new()),
        }
    }

    /// Runs a library, and shows all that it has printed. Gives the end of what went to standard error, too.
    pub(super) fn run_library(
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

    /// Tells once of each static of threads that its value does not outlive the cell, as another's does.
    fn tell_of_statics(&mut self, cell: &Cell) {
        for name in &cell.thread_locals {
            if self.told_statics.insert(name.clone()) {
                let line = format!(
                    "`{name}` of `thread_local!` begins anew in each cell; a variable is kept, and a plain static\n"
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
}
