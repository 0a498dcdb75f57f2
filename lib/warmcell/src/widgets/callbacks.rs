//! Functions that cells have left to be called when a widget changes. The kernel says when: it runs
//! [`run_callbacks`] as it runs a cell, so that a callback can be interrupted, and one that dies takes no
//! variable along.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, MutexGuard, PoisonError},
};

use wire::{
    cell::KernelMessage,
    widget::{WidgetAction, WidgetAnswer, WidgetCall},
};

use super::handle::send;

pub(super) type Callback = Box<dyn FnMut(&WidgetAction) + Send>;

/// By the widget's name. Only the thread of cells comes here.
static CALLBACKS: Mutex<Option<HashMap<String, Vec<Callback>>>> = Mutex::new(None);

pub(super) fn add(id: &str, callback: Callback) {
    let mut callbacks = lock();
    let all = callbacks.get_or_insert_default();
    all.entry(id.to_owned()).or_default().push(callback);
}

pub(super) fn remove(id: &str) {
    if let Some(callbacks) = lock().as_mut() {
        callbacks.remove(id);
    }
}

/// Calls the functions of the widgets that were changed or clicked since the last time. One that fails ends
/// it, and leaves the events behind it to the next call.
#[doc(hidden)]
pub fn run_callbacks() {
    while let Some(KernelMessage::Widget(WidgetAnswer::Event(Some(event)))) =
        send(WidgetCall::TakeEvent)
    {
        let taken = lock().as_mut().and_then(|all| all.remove(&event.id));
        let Some(callbacks) = taken else {
            continue;
        };
        let running = Running {
            id: event.id,
            callbacks,
        };
        running.call(&event.action);
    }
}

/// The functions of a widget while they run: they may make widgets, and come back also from a panic.
struct Running {
    id: String,
    callbacks: Vec<Callback>,
}

impl Running {
    /// Calls them all: of those that fail the last is told.
    fn call(mut self, action: &WidgetAction) {
        let mut failed = None;
        for callback in &mut self.callbacks {
            let called = catch_unwind(AssertUnwindSafe(|| callback(action)));
            failed = called.err().or(failed);
        }
        drop(self);
        if let Some(panic) = failed {
            resume_unwind(panic);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut callbacks = lock();
        let all = callbacks.get_or_insert_default();
        let mut now = std::mem::take(&mut self.callbacks);
        now.extend(all.remove(&self.id).unwrap_or_default());
        all.insert(std::mem::take(&mut self.id), now);
    }
}

fn lock() -> MutexGuard<'static, Option<HashMap<String, Vec<Callback>>>> {
    CALLBACKS.lock().unwrap_or_else(PoisonError::into_inner)
}
