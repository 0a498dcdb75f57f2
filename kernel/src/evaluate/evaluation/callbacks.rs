//! What runs when a user changes or clicks a widget: a cell of our own, which calls what cells have left
//! with the library for it.

use jupyter::{CellError, Publisher};
use wire::FailureKind;

use super::{Evaluation, internal};
use crate::{
    evaluate::{direct::Cell, errors},
    runner::messages::RunEnd,
};

/// The cell. It names nothing that cells have defined, so that it is compiled once, and against none of
/// it: it would forget variables by their names, which others have meanwhile.
const CALLBACKS: &str = "::warmcell::widgets::run_callbacks();";

impl Evaluation {
    /// Runs what cells have left to be run when a user changes or clicks a widget. What is shown goes to
    /// `out`.
    ///
    /// # Errors
    /// It fails, or is interrupted.
    pub fn run_callbacks(&mut self, out: &Publisher) -> Result<(), CellError> {
        if !self.widgets.has_events() {
            return Ok(());
        }
        let cells_own = self.outlet.publisher();
        self.attach(out);
        self.widgets.release_output();
        // What widgets show meanwhile answers the user, and belongs to no cell.
        let before = self.widgets.publish_by(Some(out.clone()));
        self.inbox.start_cell();
        self.interrupter.start_cell();
        let result = self.dispatch();
        let interrupted = self.interrupter.end_cell();
        let result = result.or_else(|error| {
            // Pages show no error of a widget's own: it belongs where the rest of the answer is.
            let is_shown = !interrupted && self.widgets.show_error(&error);
            if is_shown { Ok(()) } else { Err(error) }
        });
        self.widgets.release_output();
        self.widgets.flush();
        self.widgets.publish_by(before);
        if let Some(out) = cells_own {
            // What a thread prints that a cell has left stands with the cell.
            self.outlet.attach(out);
        }
        self.rustc.prepare();
        if interrupted {
            return Err(errors::plain(
                FailureKind::Interrupted.name(),
                "the answer to a widget was interrupted",
            ));
        }
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
            Some(library) => self.run_library(library, &ready),
            None => Ok(RunEnd::default()),
        };
        let source = &ready.source;
        let result = result.and_then(|RunEnd { end, lost_all, .. }| {
            if lost_all {
                self.forget_all();
            }
            match end.failure.or_else(|| self.inbox.take_failure()) {
                Some(failure) => Err(errors::from_run(CALLBACKS, 0, source, &failure)),
                None => Ok(()),
            }
        });
        self.callbacks = Some(ready);
        result
    }
}
