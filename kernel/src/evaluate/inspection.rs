//! What commands ask of the evaluation: names, dependencies, times. Nothing here waits for evcxr when
//! it cannot have an answer.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use evcxr::EvalOutputs;
use jupyter::CellError;

use super::{evaluation::Evaluation, language::Rust};
use crate::commands::{Notebook, Timing, Variable};

/// evcxr's name of the phase in which a cell runs; the others come before it.
const EXECUTION: &str = "Execution";

impl Notebook for Rust {
    fn variables(&self) -> Vec<Variable> {
        let variables = self.evaluation.variables();
        variables
            .map(|(name, type_name, described)| Variable {
                name: name.to_owned(),
                type_name: type_name.to_owned(),
                value: described.and_then(|described| described.value.clone()),
                extent: described.and_then(|described| described.extent),
            })
            .collect()
    }

    fn items(&self) -> Vec<String> {
        self.evaluation.items().map(str::to_owned).collect()
    }

    fn dependencies(&mut self) -> Vec<(String, String)> {
        self.evaluation.dependencies()
    }

    fn reset(&mut self) -> Result<(), CellError> {
        self.evaluation.run(":clear", 0).map(drop)
    }

    fn timing(&self) -> Option<Timing> {
        self.evaluation.times.timing()
    }

    fn is_analysed(&self) -> bool {
        self.evaluation.analyst().is_open()
    }

    fn folder(&mut self) -> Option<PathBuf> {
        self.evaluation.folder()
    }
}

impl Evaluation {
    /// The crates that `:dep` added: evcxr keeps the list, and knows of none before the first.
    fn dependencies(&mut self) -> Vec<(String, String)> {
        if !self.analyst().is_open() {
            return Vec::new();
        }
        let listed = self.analyst().ask(|context| context.execute(":show_deps"));
        let Ok(Ok(outputs)) = listed else {
            return Vec::new();
        };
        let list = outputs.get("text/plain").unwrap_or_default();
        list.lines()
            .filter_map(|line| line.split_once(" = "))
            .map(|(name, source)| (name.to_owned(), source.to_owned()))
            .collect()
    }
}

/// Where the time of the last cell went.
#[derive(Debug, Default)]
pub struct Times {
    compile: Duration,
    run: Option<Duration>,
}

impl Times {
    /// A cell begins.
    pub fn start(&mut self) {
        *self = Self::default();
    }

    /// A compilation that began then has ended; a cell may need several.
    pub fn compiled(&mut self, since: Instant) {
        self.compile += since.elapsed();
    }

    /// What was compiled has run since then.
    pub fn ran(&mut self, since: Instant) {
        self.run = Some(since.elapsed());
    }

    /// evcxr has done both, and measured them.
    pub fn measured(&mut self, outputs: &EvalOutputs) {
        for phase in &outputs.phases {
            if phase.name == EXECUTION {
                self.run = Some(phase.duration);
            } else {
                self.compile += phase.duration;
            }
        }
    }

    /// Both times; `None` when nothing ran.
    fn timing(&self) -> Option<Timing> {
        let compile = self.compile;
        self.run.map(|run| Timing { compile, run })
    }
}
