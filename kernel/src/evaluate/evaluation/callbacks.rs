//! What runs when a user changes or clicks a widget: a cell of our own, which calls what cells have left
//! with the library for it.

use jupyter::{CellError, Publisher};
use wire::FailureKind;

use super::{Evaluation, This, internal};
use crate::{
    evaluate::{direct::Cell, errors},
    runner::messages::RunEnd,
};

/// The cell. It names nothing that cells have defined, so that it is compiled once, and against none of
/// it: it would forget variables by their names, which others have meanwhile.
const CALLBACKS: &str = "::warmcell::widgets::run_callbacks();";

impl Evaluation {
    /// Runs what cells have left to be run when a user changes or clicks a widget. What is shown goes to
    /// `out`. Gives how those failed whose failures no output widget shows.
    pub fn run_callbacks(&mut self, out: &Publisher) -> Vec<CellError> {
        if self.widgets.events() == 0 {
            return Vec::new();
        }
        let cells_own = self.outlet.publisher();
        self.attach(out);
        // What widgets show meanwhile answers the user, and belongs to no cell.
        let before = self.widgets.publish_by(Some(out.clone()));
        let mut errors = Vec::new();
        // One that fails leaves the others: each is answered.
        loop {
            let waiting = self.widgets.events();
            errors.extend(self.answer().err());
            let left = self.widgets.events();
            if left == 0 || left >= waiting {
                break;
            }
        }
        self.widgets.flush();
        self.widgets.publish_by(before);
        if let Some(out) = cells_own {
            // What a thread prints that a cell has left stands with the cell.
            self.outlet.attach(out);
        }
        self.rustc.prepare();
        errors
    }

    /// Runs until one fails.
    fn answer(&mut self) -> Result<(), CellError> {
        self.widgets.release_output();
        self.inbox.start_cell();
        self.interrupter.start_cell();
        let result = self.dispatch();
        if self.interrupter.end_cell() {
            // So is what waits behind it, as cells are.
            self.widgets.drop_events();
            self.widgets.release_output();
            return Err(errors::plain(
                FailureKind::Interrupted.name(),
                "the answer to a widget was interrupted",
            ));
        }
        let result = result.or_else(|error| {
            // Pages show no error of a widget's own: it belongs where the rest of the answer is.
            let is_shown = self.widgets.show_error(&error);
            if is_shown { Ok(()) } else { Err(error) }
        });
        self.widgets.release_output();
        result
    }

    fn dispatch(&mut self) -> Result<(), CellError> {
        let cell = Cell::parse(CALLBACKS);
        let ready = if let Some(ready) = self.callbacks.take() {
            ready
        } else {
            // Of the user's definitions and variables it needs none, and must let go of none.
            let program = std::mem::take(&mut self.program);
            let compiled = self.compile(&cell, CALLBACKS, 0);
            self.program = program;
            compiled?.ok_or_else(|| internal("the library for cells waits"))?
        };
        let result = match &ready.library {
            Some(library) => self.run_library(library, &ready).map(|(run, _)| run),
            None => Ok(RunEnd::default()),
        };
        let this = This {
            cell: &cell,
            code: CALLBACKS,
            count: 0,
        };
        let result = result.and_then(|RunEnd { end, lost_all, .. }| {
            if lost_all {
                self.forget_all();
            }
            match end.failure.or_else(|| self.inbox.take_failure()) {
                Some(failure) => {
                    Err(self.failure(&ready, &this, end.raised_in.as_deref(), &failure))
                }
                None => Ok(()),
            }
        });
        self.callbacks = Some(ready);
        result
    }
}
