//! The flag by which a request is asked to end. Long work looks at it between its steps; who sets it
//! (an interrupt, a client that left) is decided outside.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use wire::Failure;

/// A request to stop, shared between who asks and who works. Clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop. It cannot be taken back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the work was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Fails with [`Failure::interrupted`] when the work was asked to stop.
    pub fn check(&self) -> Result<(), Failure> {
        if self.is_cancelled() {
            Err(Failure::interrupted())
        } else {
            Ok(())
        }
    }
}
