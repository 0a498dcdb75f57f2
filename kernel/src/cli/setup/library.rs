//! The library that cells link, compiled before the first cell asks for it.

use std::path::Path;

use anyhow::Result;

use crate::cli::{console::Work, hooks};

/// Builds it unless that was done for this program and this toolchain.
pub fn ensure(data: &Path) -> Result<()> {
    if hooks::library_is_built(data)? {
        return Ok(());
    }
    let _work = Work::begin("building the library for cells");
    hooks::build_library(data)
}
