//! What a panic prints. The cell's own panic prints nothing: the kernel shows it as the cell's error.
//! On other threads it is one line on standard error, since the cell goes on.

use std::{
    any::Any,
    backtrace::Backtrace,
    io::Write,
    panic::{self, PanicHookInfo},
};

use super::{CELL_FILES, mapped, trace::Raised};

/// Takes the place of the standard hook, and of one that an earlier cell has set: a cell's errors must not
/// depend on that.
pub(super) fn install() {
    panic::set_hook(Box::new(hook));
}

/// What a panic says, if it says anything.
pub(super) fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    let owned = || payload.downcast_ref::<String>().map(String::as_str);
    payload.downcast_ref::<&str>().copied().or_else(owned)
}

fn hook(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("a value that is no text");
    // Not `lock`: a panic inside a hook of ours must not wait for itself.
    if let Ok(mut cell) = super::CELL.get().try_lock()
        && cell.thread == Some(std::thread::current().id())
    {
        // A crate that the cell uses has a longer path.
        let location = info
            .location()
            .filter(|location| CELL_FILES.contains(&location.file()));
        let place = location.map(|location| (location.line(), location.column()));
        cell.report.failure = Some(super::panic(message, place));
        cell.report.raised_in = location.and_then(|location| mapped::library_of(location.file()));
        // It is read when the panic was not caught: that takes longer.
        let outside = info.location().filter(|_| location.is_none());
        cell.trace = outside.map(|place| (Backtrace::force_capture(), Raised::at(place)));
        return;
    }
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let place = info
        .location()
        .map(|location| format!(" at {location}"))
        .unwrap_or_default();
    let _ = writeln!(
        std::io::stderr(),
        "thread '{name}' panicked{place}: {message}"
    );
}
