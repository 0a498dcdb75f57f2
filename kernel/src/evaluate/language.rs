//! Rust as the kernel's language: what the protocol asks of it, answered by the evaluation of cells.

use std::{path::Path, path::PathBuf, sync::Arc};

use anyhow::Result;
use jupyter::{Cell, CellError, Language, Outcome, Publisher};
use wire::{cell::CellFailure, mime::Bundle};

use super::{
    content::Piece,
    errors,
    evaluation::{Evaluation, Outputs},
    interrupt::Interrupter,
    session::Session,
};
use crate::{commands::Analysis, widgets::Widgets};

/// Evaluates cells of Rust.
pub struct Rust {
    pub(super) evaluation: Evaluation,
}

impl Rust {
    /// Makes everything ready that a cell needs; evcxr goes on loading.
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
        let evaluation = Evaluation::open(session, data, host_socket, interrupter, widgets)?;
        Ok(Self { evaluation })
    }

    /// What is known of code beside running it.
    pub fn analysis(&self) -> Arc<dyn Analysis> {
        Arc::clone(self.evaluation.analyst()) as Arc<dyn Analysis>
    }
}

/// Why no cell can run.
pub fn unusable(reason: &anyhow::Error) -> CellError {
    let failure = CellFailure {
        ename: "KernelError".to_owned(),
        evalue: format!("no cell can run: {reason:#}"),
        location: None,
        raised: None,
        hint: Some("`warmcell doctor` in a terminal says what is missing".to_owned()),
    };
    errors::from_failure("", 0, "", &failure)
}

/// Asking what a `String` can do makes the analyser read the standard library and ours, for which
/// the first completion would otherwise wait seconds.
const WARM_UP: &str = "let text = String::new(); text.";

impl Language for Rust {
    fn warm_up(&mut self) {
        self.evaluation.analyst().warm_up(WARM_UP);
    }

    fn execute(&mut self, cell: &Cell, out: &Publisher) -> Outcome {
        self.evaluation.attach(out);
        match self.evaluation.run(&cell.code, cell.count) {
            Ok(outputs) => {
                if let Some(bundle) = bundle(outputs) {
                    out.result(bundle);
                }
                Outcome::Ok
            }
            Err(error) => Outcome::Error(error),
        }
    }

    fn attend(&mut self, out: &Publisher) {
        for error in self.evaluation.run_callbacks(out) {
            out.error(&error);
        }
    }

    fn evaluate(&mut self, expression: &str) -> Result<Bundle, CellError> {
        self.evaluation.value_of(expression)
    }
}

/// What a command such as `:vars` answers.
fn bundle(outputs: Outputs) -> Option<Bundle> {
    let mut bundle = Bundle::default();
    for (mime, content) in outputs {
        Piece::gather(&mut bundle, &mime, content);
    }
    (!bundle.data.is_empty()).then_some(bundle)
}
