//! `model.quantization_report()`: what quantisation did to a model.

use std::{fmt, ops::Deref};

use ::display::{Chart, RichDisplay};
use wire::host::{Request, Response};

use crate::{
    Model, Result,
    backend::{run, unexpected},
    rich::shows_as,
};

/// Sizes and errors of a model's quantised layers. Shows as a table, with the weights' histogram over
/// the code book where there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizationReport {
    report: wire::quantization_report::QuantizationReport,
}

shows_as!(QuantizationReport, report);

impl QuantizationReport {
    /// Where the weights lie between -1 and 1, the largest magnitude of their block, and how many are
    /// rounded to each value of the code book. `None` of blocks of ggml, which have no code book.
    pub fn histogram(&self) -> Option<Chart> {
        ::display::weight_histogram(&self.report)
    }
}

/// `layers`, `others`, `total()`, `relative_rmse`, `codes`.
impl Deref for QuantizationReport {
    type Target = wire::quantization_report::QuantizationReport;

    fn deref(&self) -> &Self::Target {
        &self.report
    }
}

impl fmt::Display for QuantizationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bundle = self.report.bundle();
        f.write_str(bundle.get("text/plain").unwrap_or_default())
    }
}

impl Model {
    /// Holds its quantised weights against those of the files it was loaded from, which are read once
    /// more, a tensor at a time: bytes before and after, and errors, layer by layer. Of a checkpoint or a
    /// GGUF file that holds quantised weights only, there are no errors to tell, and the report says so.
    ///
    /// # Errors
    /// The model is not quantised, its files have gone, or the cell was interrupted.
    pub fn quantization_report(&self) -> Result<QuantizationReport> {
        let model = self.spec().clone();
        match run(&Request::QuantizationReport { model })? {
            Response::QuantizationReport(report) => Ok(QuantizationReport { report: *report }),
            other => Err(unexpected(&other)),
        }
    }
}
